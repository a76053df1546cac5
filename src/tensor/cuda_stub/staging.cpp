// Stands in for tensor/cuda/staging.cu in a build without CUDA: there is no device to copy from.
#include "tensor/staging.h"
#include "base/error.h"

namespace rlcpp::cuda::staging {
namespace {

[[noreturn]] void absent_staging() {
  throw environment_error("this binary was built without CUDA", "", "build with the cuda preset");
}

}  // namespace

void* allocate_pinned(std::size_t, Device) {
  absent_staging();
}
void release_pinned(void*) noexcept {}
void* make_stream(Device) {
  absent_staging();
}
void release_stream(void*) noexcept {}
void copy_on(void*, void*, const void*, std::size_t) {
  absent_staging();
}
void finish(void*) {
  absent_staging();
}

}  // namespace rlcpp::cuda::staging
