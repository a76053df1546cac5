// Stands in for tensor/cuda in a build without CUDA.
#include "tensor/device.h"

namespace rlcpp::cuda {

bool compiled_in() {
  return false;
}

std::vector<GpuInfo> gpus(std::string* why) {
  *why = "this binary was built without CUDA";
  return {};
}

std::string version() {
  return "none (CPU build)";
}

}  // namespace rlcpp::cuda
