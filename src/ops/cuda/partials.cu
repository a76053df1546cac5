#include "ops/cuda/partials.h"

#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kPartialColumns = 32;  // of a block: one warp reads neighbouring columns
constexpr int kPartialGroups = 32;   // group g adds the parts g, g + 32, g + 64, ...

__global__ void __launch_bounds__(kPartialColumns* kPartialGroups)
    add_partials_kernel(float* to, const float* from, std::int64_t count, std::int64_t columns,
                        std::int64_t stride) {
  __shared__ float of_group[kPartialGroups][kPartialColumns];
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kPartialColumns + threadIdx.x;
  float sum = 0.0F;
  if (c < columns) {
#pragma unroll 8
    for (std::int64_t p = threadIdx.y; p < count; p += kPartialGroups) sum += from[p * stride + c];
  }
  of_group[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  float total = 0.0F;
#pragma unroll
  for (int g = 0; g < kPartialGroups; ++g) total += of_group[g][threadIdx.x];
  to[c] += total;
}

}  // namespace

void add_partials(cudaStream_t stream, float* to, const float* from, std::int64_t count, std::int64_t columns,
                  std::int64_t stride) {
  if (count == 0 || columns == 0) return;
  add_partials_kernel<<<grid_of(ceil_div(columns, kPartialColumns)), dim3(kPartialColumns, kPartialGroups), 0,
                        stream>>>(to, from, count, columns, stride);
  check_launch("add_partials");
}

}  // namespace rlcpp::ops::cuda
