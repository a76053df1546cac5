#include "tensor/driver_parts.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace rlcpp {
namespace {

std::string version_text(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

}  // namespace

DriverParts look_at_driver(const std::string& root) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  DriverParts parts;
  if (void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL); library != nullptr) {
    parts.library = true;
    dlclose(library);
  }
  const bool wsl = fs::exists(root + "/dev/dxg", ignored);
  parts.module = wsl || fs::exists(root + "/proc/driver/nvidia/version", ignored);
  parts.node = wsl;
  for (const auto& entry : fs::directory_iterator(root + "/dev", ignored)) {
    const std::string name = entry.path().filename();
    const std::string number = name.starts_with("nvidia") ? name.substr(6) : "";
    parts.node = parts.node || (!number.empty() && number.find_first_not_of("0123456789") == number.npos);
  }
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES"); visible != nullptr) parts.visible = visible;
  return parts;
}

std::string missing_part(const DriverParts& parts) {
  if (!parts.library && !parts.module) {
    return "there is no NVIDIA driver here: neither its library libcuda.so.1 nor its kernel module";
  }
  if (!parts.library) {
    return "the NVIDIA kernel module is loaded, but the driver's library libcuda.so.1 is not found; a "
           "container "
           "is given it by NVIDIA's container toolkit (docker run --gpus all)";
  }
  if (!parts.module)
    return "the driver's library libcuda.so.1 is here, but the NVIDIA kernel module is not loaded";
  if (!parts.node) {
    return "the NVIDIA driver is here, but no device file /dev/nvidia0, /dev/nvidia1, ... of a GPU; a "
           "container "
           "is given them with docker run --gpus all";
  }
  if (parts.driver > 0 && parts.driver < parts.runtime) {
    return "the NVIDIA driver is too old: it supports CUDA " + version_text(parts.driver) +
           ", and this binary needs " + version_text(parts.runtime);
  }
  if (parts.visible.has_value()) {
    return "CUDA_VISIBLE_DEVICES=\"" + *parts.visible + "\" leaves no GPU to be used (" + parts.answer + ")";
  }
  return "the NVIDIA driver lists no GPU that can be used (" + parts.answer + ")";
}

}  // namespace rlcpp
