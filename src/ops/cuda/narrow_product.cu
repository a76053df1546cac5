// A block computes 16 outputs of all rows, its warps a part of the sum each, which are then added in order.
// The weight is the first operand of the tensor cores' product (16 outputs), the rows of x the second (8
// columns). A lane loads 16 bytes of a row, eight neighbours along K, and feeds them to two products as if
// they lay where the instruction wants them: both operands are permuted alike, and a sum does not mind.
#include "ops/cuda/narrow_product.h"

#include <algorithm>

#include "ops/cuda/launch.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kOutputs = 16;  // of a block
constexpr int kRows = 8;      // of x in one product
constexpr int kStep = 32;     // of K a round
constexpr int kAhead = 4;     // rounds whose loads are on their way
constexpr int kMostWarps = 16;

struct NarrowArgs {
  void* y;
  const bf16 *x, *w, *bias;
  int rows, outputs, depth;
};

__device__ inline void narrow_step(float (&d)[4], const uint4& low, const uint4& high, const uint4& b) {
  product_step(d, {low.x, high.x, low.y, high.y}, b.x, b.y);
  product_step(d, {low.z, high.z, low.w, high.w}, b.z, b.w);
}

// Reads the weight past the caches: nobody reads it again in this call.
__device__ inline uint4 load_once(const bf16* from) {
  return __ldcs(reinterpret_cast<const uint4*>(from));
}

template <int kTiles, class Out>
__global__ void __launch_bounds__(kMostWarps* kWarp) narrow_kernel(const NarrowArgs args) {
  __shared__ float parts[kMostWarps][kTiles][kOutputs * kRows];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int first = static_cast<int>(blockIdx.x) * kOutputs;
  const int g = lane / 4, t = lane % 4;
  const std::int64_t depth = args.depth;
  const bf16* const low = args.w + (first + g) * depth + t * kVector;
  const bf16* const high = low + 8 * depth;
  const bf16* x[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    x[i] = i * kRows + g < args.rows ? args.x + (i * kRows + g) * depth + t * kVector : nullptr;

  float sums[kTiles][4] = {};
  const int rounds = args.depth / kStep;
  for (int round = warp; round < rounds; round += warps * kAhead) {
    uint4 a[kAhead], b[kAhead], v[kAhead][kTiles];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = (round + i * warps) * kStep;
      const bool there = round + i * warps < rounds;
      a[i] = there ? load_once(low + at) : uint4{};
      b[i] = there ? load_once(high + at) : uint4{};
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
        v[i][j] = there && x[j] != nullptr ? *reinterpret_cast<const uint4*>(x[j] + at) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int j = 0; j < kTiles; ++j) narrow_step(sums[j], a[i], b[i], v[i][j]);
    }
  }
  // Of output g (or g + 8) and rows 2 t, 2 t + 1.
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[warp][j][(2 * t + i % 2) * kOutputs + g + 8 * (i / 2)] = sums[j][i];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTiles * kRows * kOutputs;
       i += static_cast<int>(blockDim.x)) {
    const int row = i / kOutputs, output = first + i % kOutputs;
    if (row >= args.rows) break;
    float sum = 0.0F;
    for (int w = 0; w < warps; ++w) sum += parts[w][row / kRows][i % (kRows * kOutputs)];
    if (args.bias != nullptr) sum += to_float(args.bias[output]);
    static_cast<Out*>(args.y)[static_cast<std::int64_t>(row) * args.outputs + output] = from_float<Out>(sum);
  }
}

template <class Out>
void launch(const Context& ctx, const NarrowArgs& args) {
  const int blocks = args.outputs / kOutputs;
  // Warps for about 16 a multiprocessor, but each with work.
  const int wanted = kMostWarps * ctx.cuda->multiprocessors() / blocks;
  const int rounds = args.depth / kStep;
  const int warps = std::max(1, std::min({wanted, kMostWarps, rounds / 2}));
  const auto threads = static_cast<unsigned>(warps * kWarp);
  if (args.rows <= kRows) {
    narrow_kernel<1, Out><<<grid_of(blocks), threads, 0, stream_of(ctx)>>>(args);
  } else {
    narrow_kernel<2, Out><<<grid_of(blocks), threads, 0, stream_of(ctx)>>>(args);
  }
  check_launch("narrow_product");
}

}  // namespace

bool narrow_product(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& bias) {
  const std::int64_t rows = x.dim(0), depth = x.dim(1), outputs = w.dim(0);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (rows == 0 || rows > 2 * kRows || outputs % kOutputs != 0 || depth % kStep != 0 || depth == 0 ||
      outputs > kMost || depth > kMost || !vectorisable(depth, {x.raw(), w.raw()})) {
    return false;
  }
  NarrowArgs args = {};
  args.y = y.raw();
  args.x = address<const bf16>(x);
  args.w = address<const bf16>(w);
  args.bias = address<const bf16>(bias);
  args.rows = static_cast<int>(rows);
  args.outputs = static_cast<int>(outputs);
  args.depth = static_cast<int>(depth);
  if (y.dtype() == DType::kF32) {
    launch<float>(ctx, args);
  } else {
    launch<bf16>(ctx, args);
  }
  return true;
}

}  // namespace rlcpp::ops::cuda
