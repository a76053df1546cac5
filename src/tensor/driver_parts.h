// Why no GPU can be used. The CUDA runtime has one answer for a machine without a driver, for a container
// that was given none and for an old driver ("CUDA driver version is insufficient for CUDA runtime version"),
// so the parts are looked at.
#pragma once

#include <optional>
#include <string>

namespace rlcpp {

struct DriverParts {
  bool library = false;                // libcuda.so.1 can be loaded
  bool module = false;                 // the kernel's part is loaded (on WSL: Windows' is reached)
  bool node = false;                   // there is a device file of a GPU
  int driver = 0, runtime = 0;         // CUDA versions as 12020 for 12.2; 0: unknown
  std::optional<std::string> visible;  // CUDA_VISIBLE_DEVICES, which hides GPUs from the runtime
  std::string answer;                  // of the runtime, when it was asked for the number of GPUs
};

// What is here; `root` goes before the paths looked at. The runtime's part is the caller's.
DriverParts look_at_driver(const std::string& root = "");

// The part that is missing, as what follows "no GPU: ".
std::string missing_part(const DriverParts& parts);

}  // namespace rlcpp
