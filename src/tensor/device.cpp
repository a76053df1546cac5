#include "tensor/device.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace rlcpp {
namespace {

// The value in kB of a line "Name:   123 kB" of a /proc file, in bytes; 0 if it is not there.
std::size_t proc_kilobytes(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) return std::stoull(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 10, "model name") == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::size_t host_memory_bytes() { return proc_kilobytes("/proc/meminfo", "MemTotal"); }
std::size_t host_memory_available_bytes() { return proc_kilobytes("/proc/meminfo", "MemAvailable"); }
std::size_t resident_bytes() { return proc_kilobytes("/proc/self/status", "VmRSS"); }

std::size_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

DeviceChoice choose_device(const std::string& request) {
  if (request == "cpu") return {{DeviceKind::kCpu, 0}, "--device cpu"};
  if (request != "auto" && request != "cuda" && request.compare(0, 5, "cuda:") != 0) {
    throw bad_input("unknown device \"" + request + "\"", "", "use auto, cpu, cuda or cuda:N");
  }
  std::string why;
  const std::vector<GpuInfo> gpus = cuda::gpus(&why);
  if (request == "auto") {
    // The operations run on the CPU only until the CUDA back end exists; a GPU is named but not used.
    if (gpus.empty()) return {{DeviceKind::kCpu, 0}, "no GPU: " + why};
    return {{DeviceKind::kCpu, 0}, "the CUDA operations are not built yet (" + gpus.front().name + " is idle)"};
  }
  if (gpus.empty()) throw environment_error("no GPU can be used", why, "run with --device cpu");
  throw environment_error("this version has no CUDA operations yet", gpus.front().name + " was found",
                          "run with --device cpu");
}

}  // namespace rlcpp
