// A block computes 16 outputs of all rows, or 8 where that would leave multiprocessors idle, its warps a part
// of the sum each, which are then added in order. The weight is the first operand of the tensor cores'
// product (16 outputs), the rows of x the second (8 columns). A lane loads 16 bytes of a row, eight
// neighbours along K, and feeds them to two products as if they lay where the instruction wants them: both
// operands are permuted alike, and a sum does not mind.
//
// A block has as many warps as it takes for the loads of all its weights to be on their way at once (up to
// 16): they are asked for before the kernel waits for the one in front of it.
#include "ops/cuda/narrow_product.h"

#include <algorithm>

#include "ops/cuda/launch.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/overlap.cuh"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/swiglu.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kOutputs = 8;  // of half a product: a block has one or two halves
constexpr int kRows = 8;     // of x in one product
constexpr int kStep = 32;    // of K a round
constexpr int kMostWarps = 16;

// Rounds of a warp whose weights are on their way: what leaves room for three blocks of eight warps a
// multiprocessor. A quarter of it has 16,384 registers, so it holds six warps of 80 and four of 104.
template <int kHalves>
constexpr int kRoundsAhead = 8 / kHalves;
// And those whose rows of x are.
template <bool kNorm>
constexpr int kRoundsAtOnce = kNorm ? 2 : 4;

struct NarrowArgs {
  void* y;
  const bf16 *x, *w, *bias, *gain;
  int rows, outputs, depth;
  float eps;
  bool add;
};

__device__ inline void narrow_step(float (&d)[4], const uint4& low, const uint4& high, const uint4& b) {
  product_step(d, {low.x, high.x, low.y, high.y}, b.x, b.y);
  product_step(d, {low.z, high.z, low.w, high.w}, b.z, b.w);
}

// Reads the weight past the caches: nobody reads it again in this call.
__device__ inline uint4 load_once(const bf16* from) {
  return __ldcs(reinterpret_cast<const uint4*>(from));
}

__device__ inline uint4 normed(const uint4& x, float factor, const uint4& gain) {
  Float8 v = unpack(x);
  const Float8 g = unpack(gain);
#pragma unroll
  for (int i = 0; i < kVector; ++i) v[i] = v[i] * factor * g[i];
  return pack(v);
}

// What a warp has of the weight in up to kAhead rounds from `first` on.
template <int kHalves, int kAhead>
struct WeightLoads {
  uint4 words[kAhead][kHalves];
  __device__ void load(const bf16* row, std::int64_t half, int first, int step, int rounds) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int round = first + i * step;
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        words[i][h] = round < rounds ? load_once(row + h * half + round * kStep) : uint4{};
      }
    }
  }
};

// 1 / sqrt(mean of squares + eps) of the lane's row of x in each tile; null rows give anything.
template <int kTiles>
__device__ void norm_factors(float (&factor)[kTiles], const bf16* const (&x)[kTiles], int warp, int warps,
                             const NarrowArgs& args) {
  __shared__ float squares[kMostWarps][kTiles * kRows];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4;
  float sum[kTiles] = {};
  for (int round = warp; round < args.depth / kStep; round += warps) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      if (x[j] == nullptr) continue;
      const Float8 v = load8(x[j] + round * kStep);
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum[j] += v[i] * v[i];
    }
  }
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    sum[j] = warp_sum<4>(sum[j]);
    if (lane % 4 == 0) squares[warp][j * kRows + g] = sum[j];
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
    float all = 0.0F;
    for (int w = 0; w < warps; ++w) all += squares[w][j * kRows + g];
    factor[j] = 1.0F / sqrtf(all / static_cast<float>(args.depth) + args.eps);
  }
}

template <int kTiles, int kHalves, bool kNorm, bool kSwiglu, class Out>
__global__ void __launch_bounds__(kMostWarps* kWarp) narrow_kernel(const NarrowArgs args) {
  static_assert(!kSwiglu || kHalves == 2);
  constexpr int kAhead = kRoundsAhead<kHalves>, kChunk = kRoundsAtOnce<kNorm>;
  static_assert(kAhead % kChunk == 0);
  constexpr int kAll = kHalves * kOutputs;          // sums of a block and row
  constexpr int kEach = kSwiglu ? kOutputs : kAll;  // results of them
  __shared__ float parts[kMostWarps][kTiles][kRows * kAll];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int first = static_cast<int>(blockIdx.x) * kEach;
  const int g = lane / 4, t = lane % 4;
  const std::int64_t depth = args.depth;
  const int rounds = args.depth / kStep;
  // Output g of each half; with SwiGLU the halves are gates and their ups.
  const bf16* const weight_row = args.w + (first + g) * depth + t * kVector;
  const std::int64_t half = (kSwiglu ? args.outputs / 2 : kOutputs) * depth;

  WeightLoads<kHalves, kAhead> weights;
  weights.load(weight_row, half, warp, warps, rounds);
  let_next_begin();
  wait_for_previous();

  const bf16* x[kTiles];
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    x[i] = i * kRows + g < args.rows ? args.x + (i * kRows + g) * depth + t * kVector : nullptr;
  [[maybe_unused]] float factor[kTiles];
  if constexpr (kNorm) norm_factors<kTiles>(factor, x, warp, warps, args);

  float sums[kTiles][4] = {};
  for (int begin = warp; begin < rounds; begin += warps * kAhead) {
    if (begin != warp) weights.load(weight_row, half, begin, warps, rounds);
#pragma unroll
    for (int chunk = 0; chunk < kAhead; chunk += kChunk) {
      uint4 v[kChunk][kTiles];
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        const int round = begin + (chunk + i) * warps;
        const bool there = round < rounds;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
          v[i][j] =
              there && x[j] != nullptr ? *reinterpret_cast<const uint4*>(x[j] + round * kStep) : uint4{};
        }
        if constexpr (kNorm) {
          const bf16* const at = args.gain + round * kStep + t * kVector;
          const uint4 gain = there ? *reinterpret_cast<const uint4*>(at) : uint4{};
#pragma unroll
          for (int j = 0; j < kTiles; ++j) v[i][j] = normed(v[i][j], factor[j], gain);
        }
      }
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        const auto& w = weights.words[chunk + i];
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
          narrow_step(sums[j], w[0], kHalves == 2 ? w[kHalves - 1] : uint4{}, v[i][j]);
      }
    }
  }
  // Of output g of either half and rows 2 t, 2 t + 1.
#pragma unroll
  for (int j = 0; j < kTiles; ++j) {
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) {
      parts[warp][j][(2 * t + i % 2) * kAll + i / 2 * kOutputs + g] = sums[j][i];
    }
  }
  __syncthreads();
  const auto total = [&](int row, int place, int output) {
    float sum = 0.0F;
    for (int w = 0; w < warps; ++w) sum += parts[w][row / kRows][row % kRows * kAll + place];
    return args.bias != nullptr ? sum + to_float(args.bias[output]) : sum;
  };
  const int width = kSwiglu ? args.outputs / 2 : args.outputs;
  for (int i = static_cast<int>(threadIdx.x); i < kTiles * kRows * kEach; i += static_cast<int>(blockDim.x)) {
    const int row = i / kEach, place = i % kEach;
    if (row >= args.rows) break;
    float value = total(row, place, first + place);
    Out* const to = static_cast<Out*>(args.y) + static_cast<std::int64_t>(row) * width + first + place;
    if constexpr (kSwiglu) {
      const float up = total(row, place + kOutputs, width + first + place);
      value = swiglu_of(rounded_to_bf16(value), rounded_to_bf16(up));
    } else if constexpr (sizeof(Out) == 2) {
      if (args.add) value = to_float(*to) + rounded_to_bf16(value);
    }
    *to = from_float<Out>(value);
  }
}

using NarrowKernel = void (*)(NarrowArgs);

template <int kTiles>
NarrowKernel kernel_of(const NarrowProduct& p, int halves) {
  if (p.swiglu) return narrow_kernel<kTiles, 2, true, true, bf16>;
  if (p.y.dtype() == DType::kF32) return narrow_kernel<kTiles, 2, false, false, float>;
  if (!p.gain.empty()) return narrow_kernel<kTiles, 2, true, false, bf16>;
  return halves == 2 ? narrow_kernel<kTiles, 2, false, false, bf16>
                     : narrow_kernel<kTiles, 1, false, false, bf16>;
}

}  // namespace

bool narrow_product(const Context& ctx, const NarrowProduct& p) {
  const std::int64_t rows = p.x.dim(0), depth = p.x.dim(1), outputs = p.w.dim(0);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (rows == 0 || rows > 2 * kRows || outputs % (2 * kOutputs) != 0 || depth % kStep != 0 || depth == 0 ||
      outputs > kMost || depth > kMost || !vectorisable(depth, {p.x.raw(), p.w.raw(), p.gain.raw()})) {
    return false;
  }
  const bool plain = p.gain.empty() && !p.swiglu, narrow = p.y.dtype() == DType::kBF16;
  RLCPP_CHECK((narrow || plain) && (!p.swiglu || !p.gain.empty()) && (!p.add || (plain && narrow)));
  NarrowArgs args = {};
  args.y = p.y.raw();
  args.x = address<const bf16>(p.x);
  args.w = address<const bf16>(p.w);
  args.bias = address<const bf16>(p.bias);
  args.gain = address<const bf16>(p.gain);
  args.rows = static_cast<int>(rows);
  args.outputs = static_cast<int>(outputs);
  args.depth = static_cast<int>(depth);
  args.eps = p.eps;
  args.add = p.add;
  const int tiles = rows <= kRows ? 1 : 2;
  const bool idle = outputs / (2 * kOutputs) < ctx.cuda->multiprocessors();
  const int halves = plain && narrow && idle ? 1 : 2;
  // Turns that all warps make alike.
  const std::int64_t rounds = depth / kStep, ahead = kRoundsAhead<1> / halves;
  const std::int64_t warps = ceil_div(rounds, ahead * ceil_div(rounds, ahead * kMostWarps));
  const OverlappedLaunch how = {.blocks = grid_of(outputs / (halves * kOutputs)),
                                .threads = static_cast<unsigned>(warps * kWarp)};
  const NarrowKernel kernel = tiles == 1 ? kernel_of<1>(p, halves) : kernel_of<2>(p, halves);
  if (p.overlapped) {
    launch_overlapped(ctx, kernel, how, args, "narrow_product");
  } else {
    kernel<<<how.blocks, how.threads, 0, stream_of(ctx)>>>(args);
    check_launch("narrow_product");
  }
  return true;
}

}  // namespace rlcpp::ops::cuda
