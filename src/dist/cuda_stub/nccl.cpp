// Stands in for dist/cuda in a build without CUDA.
#include "dist/cuda/nccl.h"

#include "base/error.h"

namespace rlcpp::dist::cuda {
namespace {

[[noreturn]] void absent() {
  throw environment_error("this binary was built without CUDA", "ranks on GPUs need it",
                          "build with the cuda preset, or run with --device cpu");
}

}  // namespace

std::string nccl_unique_id() {
  absent();
}
std::unique_ptr<Communicator> make_nccl(World&, int, Device, const std::string&) {
  absent();
}

}  // namespace rlcpp::dist::cuda
