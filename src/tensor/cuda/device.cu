// What the driver says of the GPUs of this machine. The runtime is linked statically and finds the driver
// when it is first called, so the binary starts on a machine without either.
#include <cuda_runtime_api.h>

#include "tensor/device.h"
#include "tensor/driver_parts.h"

namespace rlcpp::cuda {
namespace {

std::string reason(const char* answer) {
  DriverParts parts = look_at_driver();
  parts.answer = answer;
  cudaRuntimeGetVersion(&parts.runtime);
  cudaDriverGetVersion(&parts.driver);
  return missing_part(parts);
}

}  // namespace

bool compiled_in() {
  return true;
}

std::vector<GpuInfo> gpus(std::string* why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    *why = reason(cudaGetErrorString(status));
    return {};
  }
  std::vector<GpuInfo> found;
  int current = 0;  // stays this thread's: asking is no choice
  cudaGetDevice(&current);
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) continue;
    GpuInfo info;
    info.index = index;
    info.name = properties.name;
    info.compute_major = properties.major;
    info.compute_minor = properties.minor;
    info.total_bytes = properties.totalGlobalMem;
    if (cudaSetDevice(index) == cudaSuccess) cudaMemGetInfo(&info.free_bytes, &info.total_bytes);
    found.push_back(info);
  }
  if (!found.empty()) cudaSetDevice(current);
  if (found.empty()) *why = reason("it lists none");
  return found;
}

std::string version() {
  const auto text = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  int runtime = 0;
  int driver = 0;
  cudaRuntimeGetVersion(&runtime);
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  return "runtime " + text(runtime) + ", driver " + (has_driver ? text(driver) : std::string("none"));
}

}  // namespace rlcpp::cuda
