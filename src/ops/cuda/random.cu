#include "ops/cuda/random.h"

#include <algorithm>

#include "ops/cuda/launch.cuh"
#include "ops/cuda/philox.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kLanes = kNormalPiece / 4;

// The steps of ops/cpu/random.cpp, one by one. Intrinsics, since the compiler would fuse products and sums.
__device__ float times(float a, float b) {
  return __fmul_rn(a, b);
}
__device__ float plus(float a, float b) {
  return __fadd_rn(a, b);
}
// c0 + s (c1 + s (c2 + ...)).
template <class... Rest>
__device__ float polynomial(float s, float first, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return first;
  } else {
    return plus(first, times(s, polynomial(s, rest...)));
  }
}

__device__ float log_positive(float x) {
  const std::uint32_t shifted = __float_as_uint(x) - 0x3f3504f3U;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float m = __uint_as_float((shifted & 0x007fffffU) + 0x3f3504f3U);
  const float t = __fdiv_rn(__fsub_rn(m, 1.0F), plus(m, 1.0F));
  const float series = polynomial(times(t, t), 2.0F, 0.66666667F, 0.4F, 0.28571429F, 0.22222222F);
  return plus(times(exponent, 0.69314718F), times(t, series));
}

__device__ void turn(float u, float& cosine, float& sine) {
  const auto quarter = static_cast<std::int32_t>(times(u, 4.0F));
  const float within = __fsub_rn(times(u, 4.0F), static_cast<float>(quarter));
  const float a = times(__fsub_rn(within, 0.5F), 1.57079633F);
  const float s = times(a, a);
  const float c0 = polynomial(s, 1.0F, -0.5F, 0.041666668F, -0.0013888889F, 2.4801587e-5F);
  const float s0 = times(a, polynomial(s, 1.0F, -0.16666667F, 0.0083333338F, -0.00019841270F, 2.7557319e-6F));
  const std::uint32_t c1 = __float_as_uint(times(__fsub_rn(c0, s0), 0.70710678F));
  const std::uint32_t s1 = __float_as_uint(times(plus(c0, s0), 0.70710678F));
  const auto q = static_cast<std::uint32_t>(quarter);
  const std::uint32_t swap = (c1 ^ s1) & (0U - (q & 1U));
  const std::uint32_t half = (q & 2U) << 30;
  cosine = __uint_as_float((c1 ^ swap) ^ ((q & 1U) << 31) ^ half);
  sine = __uint_as_float((s1 ^ swap) ^ half);
}

__device__ float uniform24(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8));
}

// One thread a Philox block: four variates, 64 elements apart, so that a warp writes whole lines.
template <class T>
__global__ void fill_kernel(T* values, std::int64_t size, NormalStream stream, float range,
                            std::int64_t first) {
  const std::int64_t blocks = (size + kNormalPiece - 1) / kNormalPiece * kLanes;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; block < blocks;
       block += step) {
    const std::int64_t at = block / kLanes * kNormalPiece + block % kLanes;
    const Philox4 words =
        philox4x32(static_cast<std::uint64_t>(first / 4 + block), stream.stream, stream.seed);
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
      const float u = times(plus(uniform24(words.word[pair]), 1.0F), 0x1p-24F);
      const float radius = __fsqrt_rn(times(-2.0F, log_positive(u)));
      float cosine = 0, sine = 0;
      turn(times(uniform24(words.word[pair + 1]), 0x1p-24F), cosine, sine);
      const std::int64_t i = at + pair * kLanes;
      if (i < size) values[i] = from_float<T>(times(range, times(radius, cosine)));
      if (i + kLanes < size) values[i + kLanes] = from_float<T>(times(range, times(radius, sine)));
    }
  }
}

template <class T>
void fill(const Tensor& t, const NormalStream& stream, float range, std::int64_t first) {
  const std::int64_t blocks = ceil_div(t.size(), kNormalPiece) * kLanes;
  const unsigned grid = grid_of(std::min<std::int64_t>(ceil_div(blocks, kThreads), 4096));
  fill_kernel<T><<<grid, kThreads, 0, cudaStreamLegacy>>>(address<T>(t), t.size(), stream, range, first);
}

}  // namespace

void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first) {
  rlcpp::cuda::check(cudaSetDevice(t.device().index), "cudaSetDevice");
  if (t.dtype() == DType::kF32) {
    fill<float>(t, stream, range, first);
  } else {
    fill<bf16>(t, stream, range, first);
  }
  check_launch("fill_normal");
  rlcpp::cuda::check(cudaStreamSynchronize(cudaStreamLegacy), "fill_normal");
}

}  // namespace rlcpp::ops::cuda
