// A product a b^T for kernels whose epilogue is more than a rounding, or whose sum goes on over a second,
// short pair of operands: a [rows, depth] and b [columns, depth] (or [depth, columns]) in bf16, sums in f32
// in registers. Blocks come in pairs that take two tiles of 128 rows above each other and share the tile of
// b, of which each loads one half for both. In a block one thread loads, two warpgroups compute 64 rows by
// 256 columns each, and the next tile's steps are loaded during the epilogue. The sum over the depth is the
// instruction's own, in steps of 16 in ascending order: the bits of an element do not depend on where in the
// matrix it lies.
#pragma once

#include "ops/cuda/hopper_cluster.cuh"
#include "ops/cuda/hopper_wide.cuh"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

constexpr int kGemmRows = 128, kGemmColumns = 256, kGemmDepth = 64;  // of a tile and a step
constexpr int kGemmStages = 4;                                       // steps that are loaded ahead
constexpr int kGemmThreads = 3 * 128;
constexpr int kGemmPair = 2;      // blocks of a cluster
constexpr int kGemmOutRows = 16;  // of a box of results, 64 columns wide: what a warp sends out at once

struct GemmShared {
  alignas(1024) unsigned char rows[kGemmStages][kGemmRows * 128];
  alignas(1024) unsigned char columns[kGemmStages][kGemmColumns * 128];
  // Of each warpgroup, twice: 64 x 64 results on their way out, 16 rows of each warp.
  alignas(1024) unsigned char out[2][2][64 * 128];
  std::uint64_t full[kGemmStages], empty[kGemmStages];
};
constexpr int kGemmSharedBytes = sizeof(GemmShared) + 1024;

// Sizes of the product, and which tiles a pair takes: all of one block of columns before the next, so that
// the pairs that run at a time share it.
struct GemmShape {
  int rows, columns, depth;
  int more;   // depth of the second pair of operands; 0: none
  int apart;  // from the first of a tile's columns to its 129th, which then has 128 neighbours; 0: all are
              // neighbours
  __host__ __device__ int row_pairs() const {
    return (rows + kGemmPair * kGemmRows - 1) / (kGemmPair * kGemmRows);
  }
  __host__ __device__ int column_tiles() const { return (columns + kGemmColumns - 1) / kGemmColumns; }
  __host__ __device__ int pairs() const { return row_pairs() * column_tiles(); }
  __host__ __device__ int steps() const { return (depth + kGemmDepth - 1) / kGemmDepth; }
  __host__ __device__ int more_steps() const { return (more + kGemmDepth - 1) / kGemmDepth; }
};

#if RLCPP_SM90A

using GemmPlace = RingOf<kGemmStages>;

__device__ inline GemmShared& gemm_shared() {
  extern __shared__ unsigned char gemm_memory[];
  return *reinterpret_cast<GemmShared*>((reinterpret_cast<std::uintptr_t>(gemm_memory) + 1023) / 1024 * 1024);
}

__device__ inline void gemm_begin(GemmShared& shared) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < kGemmStages; ++s) {
      barrier_init(&shared.full[s], 1);
      barrier_init(&shared.empty[s], kGemmPair * 8);  // the warps that compute, of both blocks
    }
    barrier_init_done();
  }
  __syncwarp();
  cluster_meet();
}
// Nobody leaves while the other block may still arrive at its barriers.
__device__ inline void gemm_end() {
  __syncwarp();
  cluster_meet();
}

// One pair of operands. Boxes of a have 128 rows; those of b too or, with kByDepth, 64.
struct GemmMaps {
  const CUtensorMap* a;
  const CUtensorMap* b;
};

// The thread that loads.
template <bool kByDepth>
__device__ void gemm_load(GemmShared& shared, const GemmMaps& maps, const GemmMaps& more,
                          const GemmShape& shape) {
  constexpr int kHalf = kGemmColumns / kGemmPair;
  constexpr std::uint16_t kBoth = (1U << kGemmPair) - 1;
  const int rank = cluster_rank();
  const int clusters = static_cast<int>(gridDim.x) / kGemmPair;
  const int steps = shape.steps(), all_steps = steps + shape.more_steps();
  GemmPlace at;
  bool first = true;
  for (int pair = static_cast<int>(blockIdx.x) / kGemmPair; pair < shape.pairs(); pair += clusters) {
    const int row = (pair % shape.row_pairs() * kGemmPair + rank) * kGemmRows;
    const int tile = pair / shape.row_pairs();
    const int column =
        shape.apart == 0 ? tile * kGemmColumns + rank * kHalf : tile * kHalf + rank * shape.apart;
    for (int step = 0; step < all_steps; ++step) {
      const GemmMaps& from = step < steps ? maps : more;
      const int depth = (step < steps ? step : step - steps) * kGemmDepth;
      if (!first) barrier_wait(&shared.empty[at.stage], at.phase ^ 1);
      std::uint64_t* const full = &shared.full[at.stage];
      barrier_expect(full, (kGemmRows + kGemmColumns) * 128);
      copy_box(shared.rows[at.stage], from.a, depth, row, full);
      unsigned char* const to = shared.columns[at.stage] + rank * kHalf * 128;
      if constexpr (kByDepth) {
        for (int box = 0; box < kHalf / 64; ++box)
          copy_box_to(kBoth, to + box * kGemmDepth * 128, from.b, column + 64 * box, depth, full);
      } else {
        copy_box_to(kBoth, to, from.b, depth, column, full);
      }
      at.next();
      if (at.stage == 0) first = false;
    }
  }
}

// The warp has read all it needs of a stage, which both blocks write.
__device__ inline void gemm_release(std::uint64_t* empty) {
  __syncwarp();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < kGemmPair) barrier_arrive_at(empty, lane);
}

// A warpgroup's part (0 or 1) of one tile.
template <bool kByDepth>
__device__ void gemm_tile(GemmShared& shared, float (&sum)[128], GemmPlace& at, int part,
                          const GemmShape& shape) {
  constexpr int kSlices = kGemmDepth / 16;
  // From 16 of the summed index to the next, in b.
  constexpr int kSlice = kByDepth ? 16 * 128 : 32;
  int before = 0;
  bool first = true;
  const auto begin_step = [&] {
    barrier_wait(&shared.full[at.stage], at.phase);
    products_begin();
  };
  const auto end_step = [&] {
    products_commit();
    if (!first) {
      products_wait<1>();
      gemm_release(&shared.empty[before]);
    }
    first = false;
    before = at.stage;
    at.next();
  };
  const auto a_of = [&] { return tile_descriptor(shared.rows[at.stage] + part * 64 * 128, 16); };
  const auto b_of = [&] {
    return tile_descriptor(shared.columns[at.stage], kByDepth ? kGemmDepth * 128 : 16);
  };
  {
    begin_step();
    const std::uint64_t a = a_of(), b = b_of();
    wide_product_first<kByDepth>(sum, a, b);
#pragma unroll
    for (int i = 1; i < kSlices; ++i)
      wide_product_next<kByDepth>(sum, further(a, 32 * i), further(b, kSlice * i));
    end_step();
  }
  for (int step = 1; step < shape.steps(); ++step) {
    begin_step();
    const std::uint64_t a = a_of(), b = b_of();
#pragma unroll
    for (int i = 0; i < kSlices; ++i)
      wide_product_next<kByDepth>(sum, further(a, 32 * i), further(b, kSlice * i));
    end_step();
  }
  for (int depth = 0; depth < shape.more; depth += kGemmDepth) {
    begin_step();
    const std::uint64_t a = a_of(), b = b_of();
    const int slices = min(kSlices, (shape.more - depth + 15) / 16);
    for (int i = 0; i < slices; ++i)
      wide_product_next<kByDepth>(sum, further(a, 32 * i), further(b, kSlice * i));
    end_step();
  }
  products_wait<0>();
  pin(sum);
  gemm_release(&shared.empty[before]);
}

// A thread's sums rounded in pairs of neighbouring columns: of each group of 8 columns one pair of row lane /
// 4 and one of the row 8 below.
template <int kPairs>
__device__ void round_pairs(std::uint32_t (&pairs)[kPairs], const float* sums) {
#pragma unroll
  for (int i = 0; i < kPairs; ++i) pairs[i] = pack_bf16(sums[2 * i], sums[2 * i + 1]);
}

// 64 columns of the warp's rows leave for (column, row), row being the warpgroup's first; `turn` counts a
// warp's calls, at least modulo 2, and `pairs` are 16 of round_pairs. Every warp ends with
// gemm_stores_done().
__device__ inline void gemm_store(GemmShared& shared, const CUtensorMap* map, int part, int turn, int column,
                                  int row, const std::uint32_t* pairs) {
  const int warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  unsigned char* const box = shared.out[part][turn % 2] + warp * kGemmOutRows * 128;
  if (lane == 0) stores_read<1>();
  __syncwarp();
  // Rows of 128 bytes, the 16-byte pieces of row r exchanged by r % 8.
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
    const int piece = (j + lane / 16) ^ (lane % 8);
    store_matrices(shared_address(box + lane % 16 * 128 + piece * 16), pairs[2 * j], pairs[2 * j + 1],
                   pairs[2 * j + 2], pairs[2 * j + 3]);
  }
  fence_for_copies();
  __syncwarp();
  if (lane == 0) store_box(map, column, row + warp * kGemmOutRows, box);
}
__device__ inline void gemm_stores_done() {
  if (threadIdx.x % 32 == 0) stores_done();
}

#endif

// Starts such a kernel with as many pairs as the GPU holds, or as there are tiles.
template <class... Parameters>
void launch_gemm(void (*kernel)(Parameters...), cudaStream_t stream, int multiprocessors,
                 const GemmShape& shape, const char* name, const Parameters&... parameters) {
  rlcpp::cuda::check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kGemmSharedBytes), name);
  const int pairs = shape.pairs() < multiprocessors / kGemmPair ? shape.pairs() : multiprocessors / kGemmPair;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(pairs * kGemmPair));
  config.blockDim = dim3(kGemmThreads);
  config.dynamicSmemBytes = kGemmSharedBytes;
  config.stream = stream;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kGemmPair, 1, 1};
  config.attrs = &cluster;
  config.numAttrs = 1;
  rlcpp::cuda::check(cudaLaunchKernelEx(&config, kernel, parameters...), name);
}

}  // namespace rlcpp::ops::cuda
