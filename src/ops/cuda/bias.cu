// Gradient of a bias: the sums of dy's columns.
// A chunk of rows is summed by one block row of the grid, sixteen lanes taking every sixteenth row each, and
// the lanes are added in order; then the chunks are added in order. Chunks depend on the shape alone, so the
// order of every sum does too.
#include <cuda_bf16.h>

#include <algorithm>

#include "ops/cuda/matmul.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kBiasLanes = 16;
constexpr int kBiasThreads = 16;                // threads of a lane, side by side along the columns
constexpr std::int64_t kBiasRows = 512;         // rows of a chunk, unless that makes too many chunks
constexpr std::int64_t kBiasMaxChunks = 65535;  // the grid's limit in y

// Eight bf16 values in one 16-byte load.
struct alignas(16) BiasVector {
  __nv_bfloat16 value[8];
};
static_assert(sizeof(BiasVector) == 16);

template <int kWidth>
__device__ void add_columns(float (&sum)[kWidth], const __nv_bfloat16* from) {
  if constexpr (kWidth == 8) {
    const BiasVector v = *reinterpret_cast<const BiasVector*>(from);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] += __bfloat162float(v.value[i]);
  } else {
    static_assert(kWidth == 1);
    sum[0] += __bfloat162float(*from);
  }
}

// sums [chunks, n] (+)= column sums of the rows [chunk * rows, (chunk + 1) * rows) of dy [m, n]. A thread
// holds kWidth columns; grid (columns / (kBiasThreads * kWidth), chunks), block (kBiasThreads, kBiasLanes).
template <int kWidth>
__global__ void __launch_bounds__(kBiasThreads* kBiasLanes)
    sum_chunk(float* __restrict__ sums, const __nv_bfloat16* __restrict__ dy, std::int64_t m, std::int64_t n,
              std::int64_t rows, bool accumulate) {
  __shared__ float lanes[kBiasLanes][kBiasThreads * kWidth];
  const std::int64_t block_column = static_cast<std::int64_t>(blockIdx.x) * kBiasThreads * kWidth;
  const int at = static_cast<int>(threadIdx.x) * kWidth;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * rows;
  const std::int64_t end = begin + rows < m ? begin + rows : m;
  float sum[kWidth] = {};
  if (block_column + at < n) {  // n is a multiple of kWidth, so the whole vector is inside
    const __nv_bfloat16* from = dy + block_column + at;
#pragma unroll 4
    for (std::int64_t r = begin + threadIdx.y; r < end; r += kBiasLanes) add_columns(sum, from + r * n);
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) lanes[threadIdx.y][at + i] = sum[i];
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.y * kBiasThreads + threadIdx.x);
  if (thread >= kBiasThreads * kWidth || block_column + thread >= n) return;
  float total = 0.0F;
#pragma unroll
  for (int lane = 0; lane < kBiasLanes; ++lane) total += lanes[lane][thread];
  float* place = sums + static_cast<std::int64_t>(blockIdx.y) * n + block_column + thread;
  *place = accumulate ? *place + total : total;
}

// db [n] (+)= the sum of the rows of sums [chunks, n], in order.
__global__ void add_chunks(float* __restrict__ db, const float* __restrict__ sums, std::int64_t chunks,
                           std::int64_t n, bool accumulate) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= n) return;
  float total = 0.0F;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += sums[chunk * n + column];
  db[column] = accumulate ? db[column] + total : total;
}

std::int64_t bias_parts(std::int64_t size, std::int64_t part) {
  return (size + part - 1) / part;
}

template <int kWidth>
void launch_sum_chunk(float* sums, const Tensor& dy, std::int64_t rows, std::int64_t chunks, bool accumulate,
                      cudaStream_t stream) {
  const std::int64_t n = dy.dim(1);
  const dim3 grid(static_cast<unsigned>(bias_parts(n, kBiasThreads * kWidth)), static_cast<unsigned>(chunks));
  sum_chunk<kWidth><<<grid, dim3(kBiasThreads, kBiasLanes), 0, stream>>>(
      sums, static_cast<const __nv_bfloat16*>(dy.raw()), dy.dim(0), n, rows, accumulate);
  check_launch("sum_chunk");
}

}  // namespace

void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate) {
  const std::int64_t m = dy.dim(0), n = dy.dim(1);
  if (n == 0) return;
  const cudaStream_t stream = stream_of(ctx);
  auto* out = static_cast<float*>(db.raw());
  if (m == 0) {
    if (!accumulate) rlcpp::cuda::check(cudaMemsetAsync(out, 0, db.bytes(), stream), "cudaMemsetAsync");
    return;
  }
  // The sums of all chunks lie in the workspace that every plan holds for products.
  const auto fitting = static_cast<std::int64_t>(kProductWorkspace / sizeof(float)) / n;
  std::int64_t chunks = std::min({bias_parts(m, kBiasRows), fitting, kBiasMaxChunks});
  chunks = std::max<std::int64_t>(chunks, 1);
  const std::int64_t rows = bias_parts(m, chunks);
  chunks = bias_parts(m, rows);

  const bool one = chunks == 1;
  float* sums = one ? out
                    : static_cast<float*>(ctx.cuda->scratch(
                          static_cast<std::size_t>(chunks * n) * sizeof(float), "the gradient of a bias"));
  const bool aligned = n % 8 == 0 && reinterpret_cast<std::uintptr_t>(dy.raw()) % 16 == 0;
  const auto launch = aligned ? launch_sum_chunk<8> : launch_sum_chunk<1>;
  launch(sums, dy, rows, chunks, one && accumulate, stream);
  if (one) return;
  constexpr int kThreads = 256;
  add_chunks<<<static_cast<unsigned>(bias_parts(n, kThreads)), kThreads, 0, stream>>>(out, sums, chunks, n,
                                                                                      accumulate);
  check_launch("add_chunks");
}

}  // namespace rlcpp::ops::cuda
