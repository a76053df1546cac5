#include <cuda_bf16.h>

#include <algorithm>

#include "ops/cuda/cast.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void cast_kernel(__nv_bfloat16* to, const float* from, std::int64_t size) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += step) {
    to[i] = __float2bfloat16_rn(from[i]);
  }
}

}  // namespace

void cast(const Context& ctx, const Tensor& to, const Tensor& from) {
  const std::int64_t size = to.size();
  const std::int64_t blocks = std::min<std::int64_t>((size + kThreads - 1) / kThreads, 4096);
  cast_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream_of(ctx)>>>(
      static_cast<__nv_bfloat16*>(to.raw()), static_cast<const float*>(from.raw()), size);
  check_launch("cast");
}

void zero(const Context& ctx, const Tensor& t) {
  rlcpp::cuda::check(cudaMemsetAsync(t.raw(), 0, t.bytes(), stream_of(ctx)), "cudaMemsetAsync");
}

}  // namespace rlcpp::ops::cuda
