// Softmax statistics of rows of logits and their gradient. One block a row; element i of a row goes to the
// same thread whatever the alignment, so the bits of a row depend on its values alone.
#include <algorithm>
#include <cfloat>

#include "ops/cuda/head.h"
#include "ops/cuda/head_cuda.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kHeadThreads = 512;
constexpr int kHeadWarps = kHeadThreads / kWarp;
constexpr int kHeadGroups = 4;                             // of four neighbours, in flight at once
constexpr int kHeadGroupStride = 4 * kHeadThreads;         // elements from one group of a thread to its next
constexpr int kHeadTile = kHeadGroups * kHeadGroupStride;  // elements of a row that a block holds at a time
constexpr float kNoWeight = -1e30F;                        // exp of it is 0, and 0 times it is not NaN

struct LogitGroup {
  float value[4];
};

// Elements [i, i + 4) of a row; minus infinity, which has no weight, beyond its end. With kAligned the row is
// 16-byte aligned and its length a multiple of 4.
template <bool kAligned>
__device__ LogitGroup load_logits(const float* row, std::int64_t i, std::int64_t length) {
  LogitGroup g;
  if constexpr (kAligned) {
    float4 four = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    if (i < length) four = *reinterpret_cast<const float4*>(row + i);
    g = {{four.x, four.y, four.z, four.w}};
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) g.value[k] = i + k < length ? row[i + k] : -INFINITY;
  }
  return g;
}

template <bool kAligned>
__device__ void store_gradient(bf16* row, std::int64_t i, std::int64_t length, const LogitGroup& g) {
  if constexpr (kAligned) {
    if (i >= length) return;
    *reinterpret_cast<uint2*>(row + i) =
        make_uint2(pack_bf16(g.value[0], g.value[1]), pack_bf16(g.value[2], g.value[3]));
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (i + k < length) row[i + k] = from_float<bf16>(g.value[k]);
    }
  }
}

// Of part of a row: the maximum, the sum of e = exp(z - max), and the sum of e (z - max).
struct SoftmaxSums {
  float max;
  float sum;
  float weighted;

  __device__ static SoftmaxSums of_nothing() { return {-FLT_MAX, 0.0F, 0.0F}; }
  // The same sums about a larger maximum. The bound keeps 0 times infinity away.
  __device__ void raise(float larger) {
    const float shift = fmaxf(max - larger, kNoWeight);
    const float factor = expf(shift);
    weighted = factor * (weighted + sum * shift);
    sum = factor * sum;
    max = larger;
  }
  __device__ void add(const SoftmaxSums& other) {
    SoftmaxSums shifted = other;
    const float larger = fmaxf(max, other.max);
    raise(larger);
    shifted.raise(larger);
    sum += shifted.sum;
    weighted += shifted.weighted;
  }
  __device__ SoftmaxSums from_lane_above(int distance) const {
    SoftmaxSums other;
    other.max = __shfl_down_sync(kAllLanes, max, distance);
    other.sum = __shfl_down_sync(kAllLanes, sum, distance);
    other.weighted = __shfl_down_sync(kAllLanes, weighted, distance);
    return other;
  }
};

// All threads of the block get the sums of the row: a thread adds its groups in ascending order, then lanes
// and warps are added as a fixed tree.
template <bool kAligned>
__device__ SoftmaxSums softmax_sums(const float* row, std::int64_t length, float temperature) {
  SoftmaxSums mine = SoftmaxSums::of_nothing();
  for (std::int64_t tile = 0; tile < length; tile += kHeadTile) {
    LogitGroup groups[kHeadGroups];
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g)
      groups[g] = load_logits<kAligned>(row, tile + g * kHeadGroupStride + 4 * threadIdx.x, length);
    float larger = mine.max;
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (temperature != 1.0F) groups[g].value[k] /= temperature;
        larger = fmaxf(larger, groups[g].value[k]);
      }
    }
    mine.raise(larger);
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float shifted = groups[g].value[k] - larger;
        const float e = expf(shifted);
        mine.sum += e;
        mine.weighted = fmaf(e, fmaxf(shifted, kNoWeight), mine.weighted);
      }
    }
  }
  __shared__ SoftmaxSums of_warp[kHeadWarps];
  __shared__ SoftmaxSums of_row;
  for (int distance = kWarp / 2; distance > 0; distance /= 2) mine.add(mine.from_lane_above(distance));
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = mine;
  __syncthreads();
  if (threadIdx.x < kWarp) {
    mine = threadIdx.x < kHeadWarps ? of_warp[threadIdx.x] : SoftmaxSums::of_nothing();
    for (int distance = kHeadWarps / 2; distance > 0; distance /= 2) mine.add(mine.from_lane_above(distance));
    if (threadIdx.x == 0) of_row = mine;
  }
  __syncthreads();
  return of_row;
}

struct RowStatistics {
  float lse;
  float entropy;
};
__device__ RowStatistics statistics_of(const SoftmaxSums& sums) {
  const float log_total = logf(sums.sum);
  return {sums.max + log_total, log_total - sums.weighted / sums.sum};
}

// dz = factor (onehot(target) - exp(z - lse)) in bf16 over the row's own logits. A block reads a tile of the
// row before it writes that tile at half the offset: what it overwrites lies in this tile, which all threads
// have read when they pass the barrier, or in earlier ones.
template <bool kAligned>
__device__ void write_gradient(float* row, std::int64_t length, float temperature, float lse,
                               std::int32_t target, float factor) {
  auto* to = reinterpret_cast<bf16*>(row);
  for (std::int64_t tile = 0; tile < length; tile += kHeadTile) {
    LogitGroup groups[kHeadGroups];
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g)
      groups[g] = load_logits<kAligned>(row, tile + g * kHeadGroupStride + 4 * threadIdx.x, length);
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g) {
      const std::int64_t first = tile + g * kHeadGroupStride + 4 * threadIdx.x;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float z = groups[g].value[k];
        if (temperature != 1.0F) z /= temperature;
        const float p = expf(z - lse);
        groups[g].value[k] = first + k == target ? factor * (1.0F - p) : -factor * p;
      }
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g)
      store_gradient<kAligned>(to, tile + g * kHeadGroupStride + 4 * threadIdx.x, length, groups[g]);
  }
}

template <bool kAligned>
__device__ void write_zeros(float* row, std::int64_t length) {
  auto* to = reinterpret_cast<bf16*>(row);
  for (std::int64_t i = 4 * threadIdx.x; i < length; i += kHeadGroupStride)
    store_gradient<kAligned>(to, i, length, LogitGroup{});
}

template <bool kAligned>
__global__ void __launch_bounds__(kHeadThreads) head_rows_kernel(HeadRowArgs args) {
  const std::int64_t r = blockIdx.x;
  float* row = args.logits + r * args.vocabulary;
  const std::int32_t target = args.targets[r];
  const float coefficient = args.coefficients != nullptr ? args.coefficients[r] : 0.0F;
  const bool skipped = target < 0 || (args.logprobs == nullptr && coefficient == 0.0F);
  if (!skipped) {
    const float temperature = args.temperatures[r];
    const RowStatistics stats = statistics_of(softmax_sums<kAligned>(row, args.vocabulary, temperature));
    if (threadIdx.x == 0) {
      // The host cannot see a target that is no token; the loss will.
      float z = target < args.vocabulary ? row[target] : NAN;
      if (temperature != 1.0F) z /= temperature;
      if (args.logprobs != nullptr) args.logprobs[r] = z - stats.lse;
      if (args.entropies != nullptr) args.entropies[r] = stats.entropy;
    }
    if (coefficient != 0.0F) {
      __syncthreads();  // the target's logit has been read
      write_gradient<kAligned>(row, args.vocabulary, temperature, stats.lse, target,
                               coefficient / temperature);
      return;
    }
  } else if (threadIdx.x == 0) {
    if (args.logprobs != nullptr) args.logprobs[r] = 0.0F;
    if (args.entropies != nullptr) args.entropies[r] = 0.0F;
  }
  if (args.coefficients == nullptr) return;
  __syncthreads();
  write_zeros<kAligned>(row, args.vocabulary);
}

template <bool kAligned>
__global__ void __launch_bounds__(kHeadThreads)
    row_statistics_kernel(float* lse, float* entropy, const float* logits, std::int64_t vocabulary) {
  const std::int64_t r = blockIdx.x;
  const RowStatistics stats =
      statistics_of(softmax_sums<kAligned>(logits + r * vocabulary, vocabulary, 1.0F));
  if (threadIdx.x != 0) return;
  lse[r] = stats.lse;
  if (entropy != nullptr) entropy[r] = stats.entropy;
}

// Block (r, t): tile t of row r.
template <bool kAligned>
__global__ void __launch_bounds__(kHeadThreads)
    divide_rows_kernel(float* logits, const float* temperatures, std::int64_t vocabulary) {
  const float temperature = temperatures[blockIdx.x];
  if (temperature == 1.0F) return;
  float* row = logits + blockIdx.x * vocabulary;
  for (std::int64_t tile = std::int64_t{blockIdx.y} * kHeadTile; tile < vocabulary;
       tile += std::int64_t{gridDim.y} * kHeadTile) {
#pragma unroll
    for (int g = 0; g < kHeadGroups; ++g) {
      const std::int64_t i = tile + g * kHeadGroupStride + 4 * threadIdx.x;
      if constexpr (kAligned) {
        if (i >= vocabulary) continue;
        auto* four = reinterpret_cast<float4*>(row + i);
        const float4 z = *four;
        *four = make_float4(z.x / temperature, z.y / temperature, z.z / temperature, z.w / temperature);
      } else {
        for (int k = 0; k < 4; ++k) {
          if (i + k < vocabulary) row[i + k] /= temperature;
        }
      }
    }
  }
}

// One block a row.
__global__ void scale_rows_kernel(bf16* rows, const float* factors, std::int64_t width) {
  const float factor = factors[blockIdx.x];
  bf16* row = rows + blockIdx.x * width;
  for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x)
    row[i] = from_float<bf16>(factor == 0.0F ? 0.0F : to_float(row[i]) * factor);
}

bool rows_aligned(const float* logits, std::int64_t vocabulary) {
  return vocabulary % 4 == 0 && reinterpret_cast<std::uintptr_t>(logits) % 16 == 0;
}

}  // namespace

void head_rows(cudaStream_t stream, const HeadRowArgs& args) {
  if (args.rows == 0) return;
  const auto kernel =
      rows_aligned(args.logits, args.vocabulary) ? head_rows_kernel<true> : head_rows_kernel<false>;
  kernel<<<grid_of(args.rows), kHeadThreads, 0, stream>>>(args);
  check_launch("head_rows");
}

void row_statistics(cudaStream_t stream, float* lse, float* entropy, const float* logits, std::int64_t rows,
                    std::int64_t vocabulary) {
  if (rows == 0) return;
  const auto kernel =
      rows_aligned(logits, vocabulary) ? row_statistics_kernel<true> : row_statistics_kernel<false>;
  kernel<<<grid_of(rows), kHeadThreads, 0, stream>>>(lse, entropy, logits, vocabulary);
  check_launch("row_statistics");
}

void divide_rows(cudaStream_t stream, float* logits, const float* temperatures, std::int64_t rows,
                 std::int64_t vocabulary) {
  if (rows == 0) return;
  constexpr std::int64_t kGridHeight = 65535;
  const std::int64_t tiles = std::min(ceil_div(vocabulary, kHeadTile), kGridHeight);
  const dim3 grid(grid_of(rows), static_cast<unsigned>(tiles));
  const auto kernel = rows_aligned(logits, vocabulary) ? divide_rows_kernel<true> : divide_rows_kernel<false>;
  kernel<<<grid, kHeadThreads, 0, stream>>>(logits, temperatures, vocabulary);
  check_launch("divide_rows");
}

void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors) {
  constexpr unsigned kScaleThreads = 256;
  scale_rows_kernel<<<grid_of(rows.dim(0)), kScaleThreads, 0, stream_of(ctx)>>>(
      address<bf16>(rows), address<const float>(factors), rows.dim(1));
  check_launch("scale_rows");
}

}  // namespace rlcpp::ops::cuda
