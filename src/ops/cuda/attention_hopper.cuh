// What the two kernels of attention_hopper.h share: sizes, shared memory, and the walk over tiles.
#pragma once

#include "ops/cuda/hopper.cuh"

namespace rlcpp::ops::cuda {

constexpr int kBoxRows = 64;             // that the copy engine brings at once
constexpr int kBlockRows = 128;          // rows that a block owns: queries for dq, keys for dk and dv
constexpr int kStepRows = 64;            // rows of the other kind that it takes at a time
constexpr int kStages = 3;               // steps that are loaded ahead
constexpr int kHopperThreads = 3 * 128;  // a warpgroup that loads, two that compute 64 rows each

// Log-sum-exp (times log2 e) and rowsum(dout * out) of one query and head.
struct QueryStatistics {
  float lse, delta;
};

struct HopperArgs {
  const std::int32_t* cu_seqlens;     // [documents + 1]
  const QueryStatistics* statistics;  // [heads, padded_rows]
  bf16* dqkv;                         // [rows, width]
  int documents, rows, padded_rows;
  int heads, kv_heads, group;
  int width;
  float scale, scale_log2;  // scale, and scale * log2 e
};

// 64 columns of `kRows` rows, 128 bytes a row.
template <int kRows>
constexpr int kBlockBytes = kRows * 128;

template <int kDim>
struct HopperShared {
  static constexpr int kBlocks = kDim / 64;
  // Two matrices of the block (q and dout, or k and v), then two of each stage.
  alignas(1024) unsigned char own[2][kBlocks][kBlockBytes<kBlockRows>];
  alignas(1024) unsigned char step[kStages][2][kBlocks][kBlockBytes<kStepRows>];
  alignas(16) QueryStatistics statistics[kStages][kStepRows];
  std::uint64_t own_full, full[kStages], empty[kStages];
};

#if RLCPP_SM90A

// The document of a row: the last that does not begin behind it (empty ones begin where the next does).
__device__ inline int document_of_row(const HopperArgs& args, int row) {
  int low = 0, high = args.documents;
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    if (args.cu_seqlens[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

template <int kDim>
__device__ void init_barriers(HopperShared<kDim>& shared) {
  if (threadIdx.x == 0) {
    barrier_init(&shared.own_full, 1);
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&shared.full[s], 1);
      barrier_init(&shared.empty[s], 8);  // a warp each
    }
    barrier_init_done();
  }
  __syncthreads();
}

// Rows [row, row + kRows) of one head: `to` gets its blocks of 64 columns one after the other. The map's
// boxes have 64 rows.
template <int kDim, int kRows>
__device__ void load_head(unsigned char (*to)[kBlockBytes<kRows>], const CUtensorMap* map, int column,
                          int row, std::uint64_t* barrier) {
#pragma unroll
  for (int b = 0; b < kDim / 64; ++b) {
#pragma unroll
    for (int r = 0; r < kRows; r += 64) copy_box(to[b] + r * 128, map, column + 64 * b, row + r, barrier);
  }
}

// The warp has read all it needs of a stage.
__device__ inline void release(std::uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

using RingPlace = RingOf<kStages>;

// scores (a warpgroup's 64 rows of `own` by the 64 of a step) = own step^T, queued as one group.
template <int kDim>
__device__ void queue_scores(float (&scores)[32], std::uint64_t own, std::uint64_t step) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    // Sixteen columns are 32 bytes inside a block of 64; the next block is a whole tile further.
    const int own_at = k / 4 * kBlockBytes<kBlockRows> + k % 4 * 32;
    const int step_at = k / 4 * kBlockBytes<kStepRows> + k % 4 * 32;
    if (k == 0) {
      product_first(scores, own, step);
    } else {
      product_next(scores, further(own, own_at), further(step, step_at));
    }
  }
  products_commit();
}

// sum (64 rows by kDim) += weights (64 x 64 in registers) times the step's 64 rows, queued as one group.
template <int kSum>
__device__ void queue_weighted(float (&sum)[kSum], const std::uint32_t (&weights)[16], std::uint64_t step) {
#pragma unroll
  for (int k = 0; k < 4; ++k) product_add(sum, weights + 4 * k, further(step, k * 16 * 128));
  products_commit();
}

// 64 x 64 values of a warpgroup rounded to bf16, as the left side of a product: the layouts agree.
__device__ inline void pack_weights(std::uint32_t (&weights)[16], const float (&values)[32]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) weights[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
}

// Writes this thread's part of 64 rows by kDim, times `factor`, rounded: rows `row` and `row + 8`, if below
// `rows`.
template <int kSum>
__device__ void store_rows(bf16* to, int width, int row, int rows, const float (&values)[kSum],
                           float factor) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + 8 * half;
    if (r >= rows) continue;
    bf16* const at = to + static_cast<std::int64_t>(r) * width + column;
#pragma unroll
    for (int j = 0; j < kSum / 4; ++j) {
      *reinterpret_cast<std::uint32_t*>(at + 8 * j) =
          pack_bf16(values[4 * j + 2 * half] * factor, values[4 * j + 2 * half + 1] * factor);
    }
  }
}

#endif

}  // namespace rlcpp::ops::cuda
