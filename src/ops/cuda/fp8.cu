// Largest value and e4m3 codes of a bf16 matrix, as they lie and transposed.
#include <cuda_fp8.h>

#include "base/error.h"
#include "ops/cuda/fp8.h"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kBlocksEach = 8;  // of a multiprocessor, that walk over a matrix together
constexpr float kSmallestLargest = 0x1p-100F;

// Magnitudes of the two bf16 of a word.
__device__ std::uint32_t magnitudes(std::uint32_t word) {
  return word & 0x7fff7fffU;
}
__device__ std::uint32_t largest_of(const uint4& words) {
  return __vmaxu2(__vmaxu2(magnitudes(words.x), magnitudes(words.y)),
                  __vmaxu2(magnitudes(words.z), magnitudes(words.w)));
}

// As integers, magnitudes are in order, and what is not a number is above them all; and the largest of them
// does not depend on who came first.
__global__ void __launch_bounds__(kThreads)
    largest_kernel(unsigned* largest, const uint4* x, std::int64_t vectors) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  std::uint32_t most = 0;
  for (; i + 3 * step < vectors; i += 4 * step) {
    const uint4 a = x[i], b = x[i + step], c = x[i + 2 * step], d = x[i + 3 * step];
    most = __vmaxu2(most,
                    __vmaxu2(__vmaxu2(largest_of(a), largest_of(b)), __vmaxu2(largest_of(c), largest_of(d))));
  }
  for (; i < vectors; i += step) most = __vmaxu2(most, largest_of(x[i]));
  most = max(most & 0xffffU, most >> 16);
  most = __reduce_max_sync(0xffffffffU, most);
  __shared__ std::uint32_t of_warp[kWarps];
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = most;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const std::uint32_t each : of_warp) most = max(most, each);
  if (most > 0) atomicMax(largest, most << 16);
}

__device__ float clamped(float largest) {
  return largest < kSmallestLargest ? kSmallestLargest : largest;  // what is not a number stays
}

// The four codes of four values, the first in the lowest byte.
__device__ std::uint32_t codes(float a, float b, float c, float d, float factor) {
  const std::uint32_t low = __nv_cvt_float2_to_fp8x2({a * factor, b * factor}, __NV_SATFINITE, __NV_E4M3);
  const std::uint32_t high = __nv_cvt_float2_to_fp8x2({c * factor, d * factor}, __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}
__device__ uint2 codes(const uint4& words, float factor) {
  const Float8 f = unpack(words);
  return {codes(f[0], f[1], f[2], f[3], factor), codes(f[4], f[5], f[6], f[7], factor)};
}

__device__ void write_scale(float* scale, float most) {
  if (blockIdx.x == 0 && threadIdx.x == 0) *scale = most / kFp8Largest;
}

__global__ void __launch_bounds__(kThreads)
    quantize_kernel(uint4* q, float* scale, const uint4* x, const float* largest, std::int64_t vectors) {
  const float most = clamped(*largest), factor = kFp8Largest / most;
  write_scale(scale, most);
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vectors;
       i += step) {
    const uint4 first = x[2 * i], second = x[2 * i + 1];
    const uint2 a = codes(first, factor), b = codes(second, factor);
    q[i] = {a.x, a.y, b.x, b.y};
  }
}

// A block's tile: a thread takes eight columns of four rows, turns each four by four codes round, and the
// tile leaves by columns, 128 rows of one at a time.
constexpr int kTileRows = 128, kTileColumns = 64;
constexpr int kTileWords = kTileRows / 4 + 1;  // of a column in shared memory, and one against bank conflicts
static_assert(kTileRows / 4 * (kTileColumns / kVector) == kThreads);

// Byte i of the result's word j is byte j of word i.
__device__ void turn(const std::uint32_t (&in)[4], std::uint32_t (&out)[4]) {
  const std::uint32_t a = __byte_perm(in[0], in[1], 0x5140), b = __byte_perm(in[2], in[3], 0x5140);
  const std::uint32_t c = __byte_perm(in[0], in[1], 0x7362), d = __byte_perm(in[2], in[3], 0x7362);
  out[0] = __byte_perm(a, b, 0x5410);
  out[1] = __byte_perm(a, b, 0x7632);
  out[2] = __byte_perm(c, d, 0x5410);
  out[3] = __byte_perm(c, d, 0x7632);
}

template <bool kPlain>
__global__ void __launch_bounds__(kThreads)
    quantize_transposed_kernel(uint2* q, std::uint32_t* qt, float* scale, const bf16* x, const float* largest,
                               std::int64_t m, std::int64_t padded, std::int64_t k, unsigned row_tiles) {
  __shared__ std::uint32_t tile[kTileColumns * kTileWords];
  const float most = clamped(*largest), factor = kFp8Largest / most;
  write_scale(scale, most);
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x % row_tiles) * kTileRows;
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x / row_tiles) * kTileColumns;
  const int own_column = static_cast<int>(threadIdx.x) % (kTileColumns / kVector) * kVector;
  const int group = static_cast<int>(threadIdx.x) / (kTileColumns / kVector);
  std::uint32_t low[4], high[4];
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const std::int64_t row = row0 + 4 * group + r, column = column0 + own_column;
    const bool inside = row < m && column < k;
    const uint4 words = inside ? *reinterpret_cast<const uint4*>(x + row * k + column) : uint4{};
    const uint2 eight = codes(words, factor);
    low[r] = inside ? eight.x : 0;  // 0 times an infinite factor is none
    high[r] = inside ? eight.y : 0;
    if (kPlain && inside) q[(row * k + column) / kVector] = eight;
  }
  std::uint32_t turned[4];
  turn(low, turned);
#pragma unroll
  for (int i = 0; i < 4; ++i) tile[(own_column + i) * kTileWords + group] = turned[i];
  turn(high, turned);
#pragma unroll
  for (int i = 0; i < 4; ++i) tile[(own_column + 4 + i) * kTileWords + group] = turned[i];
  __syncthreads();
  const int word = static_cast<int>(threadIdx.x) % 32;
  for (int column = static_cast<int>(threadIdx.x) / 32; column < kTileColumns; column += kWarps) {
    const std::int64_t row = row0 + 4 * word;
    if (column0 + column < k && row < padded)
      qt[((column0 + column) * padded + row) / 4] = tile[column * kTileWords + word];
  }
}

unsigned walking_blocks(const Context& ctx, std::int64_t vectors) {
  const std::int64_t most = static_cast<std::int64_t>(ctx.cuda->multiprocessors()) * kBlocksEach;
  const std::int64_t wanted = ceil_div(vectors, kThreads);
  return grid_of(wanted < most ? wanted : most);
}

// Sixteen bytes at a time, which every matrix of our own is aligned for.
template <class T>
T* aligned(const Tensor& t) {
  RLCPP_CHECK(reinterpret_cast<std::uintptr_t>(t.raw()) % 16 == 0);
  return static_cast<T*>(t.raw());
}

}  // namespace

void fp8_largest(const Context& ctx, const Tensor& largest, const Tensor& x) {
  if (x.size() == 0) return;
  const std::int64_t vectors = x.size() / kVector;
  largest_kernel<<<walking_blocks(ctx, vectors), kThreads, 0, stream_of(ctx)>>>(
      static_cast<unsigned*>(largest.raw()), aligned<const uint4>(x), vectors);
  check_launch("fp8_largest");
}

void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest) {
  RLCPP_CHECK(x.size() > 0 && !(q.empty() && qt.empty()));
  if (qt.empty()) {
    const std::int64_t vectors = x.size() / (2 * kVector);
    quantize_kernel<<<walking_blocks(ctx, vectors), kThreads, 0, stream_of(ctx)>>>(
        aligned<uint4>(q), address<float>(scale), aligned<const uint4>(x), address<const float>(largest),
        vectors);
    return check_launch("fp8_quantize");
  }
  const std::int64_t m = x.dim(0), k = x.dim(1);
  const std::int64_t row_tiles = ceil_div(m, kTileRows), column_tiles = ceil_div(k, kTileColumns);
  const auto kernel = q.empty() ? quantize_transposed_kernel<false> : quantize_transposed_kernel<true>;
  kernel<<<grid_of(row_tiles * column_tiles), kThreads, 0, stream_of(ctx)>>>(
      q.empty() ? nullptr : aligned<uint2>(q), aligned<std::uint32_t>(qt), address<float>(scale),
      aligned<const bf16>(x), address<const float>(largest), m, fp8_padded(m), k,
      static_cast<unsigned>(row_tiles));
  check_launch("fp8_quantize");
}

}  // namespace rlcpp::ops::cuda
