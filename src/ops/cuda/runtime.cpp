#include <algorithm>

#include <fmt/format.h>

#include "ops/cuda/attention_cuda.h"
#include "ops/cuda/embedding_cuda.h"
#include "ops/cuda/head_cuda.h"
#include "ops/cuda/matmul_cuda.h"
#include "ops/cuda/norm_cuda.h"
#include "ops/cuda/optimizer_cuda.h"
#include "ops/cuda/rope_cuda.h"

namespace rlcpp::ops::cuda {

using rlcpp::cuda::check;

Runtime::Runtime(Device device) : device_(device) {
  check(cudaSetDevice(device.index), "cudaSetDevice");
  rlcpp::cuda::memory_taken(device);  // remembers what a bare context takes
  // Not a non-blocking stream: copies of tensor/copy.h go through the default stream and must wait for it.
  check(cudaStreamCreate(&stream_), "cudaStreamCreate");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device.index),
        "cudaDeviceGetAttribute");
  products_ = std::make_unique<ProductPlans>(*this);
  attention_ = std::make_unique<AttentionPlans>(*this);
}

Runtime::~Runtime() {
  attention_.reset();
  products_.reset();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void* Runtime::scratch(std::size_t bytes, const char* operation) {
  if (bytes <= workspace_.bytes() || bytes == 0) return workspace_.raw();
  throw runtime_failure(fmt::format("{} needs {} bytes of scratch memory, the plan has {}", operation, bytes,
                                    workspace_.bytes()),
                        "a call is larger than the plan was made for", "report this: the plan is wrong");
}

std::shared_ptr<Runtime> make_runtime(Device device, NumericMode mode) {
  auto runtime = std::make_shared<Runtime>(device);
  runtime->products().set_exact(mode == NumericMode::kExact);
  return runtime;
}

void synchronize(Runtime& runtime) {
  check(cudaStreamSynchronize(runtime.stream()), "an operation on the GPU");
}

void* stream_handle(Runtime& runtime) {
  return runtime.stream();
}

std::size_t workspace_bytes(Runtime& runtime, const WorkspaceNeeds& needs) {
  return std::max({kProductWorkspace, attention_scratch(runtime, needs), embedding_scratch(needs),
                   head_scratch(needs), norm_scratch(needs), optimizer_scratch(), rope_scratch(needs)});
}

std::size_t head_workspace_bytes(Runtime&, const WorkspaceNeeds& needs) {
  return std::max(kProductWorkspace, head_scratch(needs));
}

void use_workspace(Runtime& runtime, const Tensor& memory) {
  RLCPP_CHECK(memory.device() == runtime.device());
  runtime.use(memory);
}

}  // namespace rlcpp::ops::cuda
