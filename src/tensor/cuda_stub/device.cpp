// Stands in for tensor/cuda in a build without CUDA.
#include "tensor/device.h"
#include "base/error.h"

namespace rlcpp::cuda {
namespace {

// choose_device refuses a GPU, so nothing below is reached.
[[noreturn]] void absent() {
  throw environment_error("this binary was built without CUDA", "", "build with the cuda preset");
}

}  // namespace

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

Taken memory_taken(Device) {
  absent();
}
void* allocate(std::size_t, Device) {
  absent();
}
void release(void*, Device) noexcept {}
void pin(void*, std::size_t, Device) {
  absent();
}
void unpin(void*, Device) noexcept {}
void copy(void*, Device, const void*, Device, std::size_t) {
  absent();
}
void fill(void*, Device, std::uint8_t, std::size_t) {
  absent();
}
void check(int, const char*) {
  absent();
}

}  // namespace rlcpp::cuda
