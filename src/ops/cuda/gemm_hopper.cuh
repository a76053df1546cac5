// A product a b^T for kernels whose epilogue is more than a rounding: a [rows, depth] and b [columns, depth]
// in bf16, sums in f32 in registers. Blocks come in pairs that take two tiles of 128 rows above each other
// and share the tile of b, of which each loads one half for both. In a block one thread loads, two
// warpgroups compute 64 rows by 256 columns each, and the next tile's steps are loaded during the epilogue.
// The sum over the depth is the instruction's own, in steps of 16 in ascending order: the bits of an element
// do not depend on where in the matrix it lies.
#pragma once

#include "ops/cuda/hopper_cluster.cuh"
#include "ops/cuda/hopper_wide.cuh"

namespace rlcpp::ops::cuda {

constexpr int kGemmRows = 128, kGemmColumns = 256, kGemmDepth = 64;  // of a tile and a step
constexpr int kGemmStages = 4;                                       // steps that are loaded ahead
constexpr int kGemmThreads = 3 * 128;
constexpr int kGemmPair = 2;  // blocks of a cluster

struct GemmShared {
  alignas(1024) unsigned char rows[kGemmStages][kGemmRows * 128];
  alignas(1024) unsigned char columns[kGemmStages][kGemmColumns * 128];
  alignas(
      1024) unsigned char out[2][2][64 * 128];  // of each warpgroup: two boxes of 64 x 64 on their way out
  std::uint64_t full[kGemmStages], empty[kGemmStages];
};
constexpr int kGemmSharedBytes = sizeof(GemmShared) + 1024;

// Sizes of the product, and which tiles a pair takes: all of one block of columns before the next, so that
// the pairs that run at a time share it.
struct GemmShape {
  int rows, columns, depth;
  __host__ __device__ int row_pairs() const {
    return (rows + kGemmPair * kGemmRows - 1) / (kGemmPair * kGemmRows);
  }
  __host__ __device__ int column_tiles() const { return (columns + kGemmColumns - 1) / kGemmColumns; }
  __host__ __device__ int pairs() const { return row_pairs() * column_tiles(); }
  __host__ __device__ int steps() const { return (depth + kGemmDepth - 1) / kGemmDepth; }
};

#if RLCPP_SM90A

struct GemmPlace {
  int stage = 0, phase = 0;
  __device__ void next() {
    if (++stage == kGemmStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

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

// The thread that loads. a_map has boxes of 128 rows, b_map too.
__device__ inline void gemm_load(GemmShared& shared, const CUtensorMap* a_map, const CUtensorMap* b_map,
                                 const GemmShape& shape) {
  const int rank = cluster_rank();
  const int clusters = static_cast<int>(gridDim.x) / kGemmPair;
  GemmPlace at;
  bool first = true;
  for (int pair = static_cast<int>(blockIdx.x) / kGemmPair; pair < shape.pairs(); pair += clusters) {
    const int row = (pair % shape.row_pairs() * kGemmPair + rank) * kGemmRows;
    const int column = pair / shape.row_pairs() * kGemmColumns + rank * (kGemmColumns / kGemmPair);
    for (int k = 0; k < shape.steps(); ++k) {
      if (!first) barrier_wait(&shared.empty[at.stage], at.phase ^ 1);
      std::uint64_t* const full = &shared.full[at.stage];
      barrier_expect(full, (kGemmRows + kGemmColumns) * 128);
      copy_box(shared.rows[at.stage], a_map, k * kGemmDepth, row, full);
      copy_box_to((1U << kGemmPair) - 1, shared.columns[at.stage] + rank * (kGemmColumns / kGemmPair) * 128,
                  b_map, k * kGemmDepth, column, full);
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
__device__ inline void gemm_tile(GemmShared& shared, float (&sum)[128], GemmPlace& at, int part, int steps) {
  int before = 0;
  for (int k = 0; k < steps; ++k) {
    barrier_wait(&shared.full[at.stage], at.phase);
    const std::uint64_t a = tile_descriptor(shared.rows[at.stage] + part * 64 * 128, 16);
    const std::uint64_t b = tile_descriptor(shared.columns[at.stage], 16);
    products_begin();
#pragma unroll
    for (int i = 0; i < kGemmDepth / 16; ++i)
      wide_product(sum, further(a, 32 * i), further(b, 32 * i), k == 0 && i == 0);
    products_commit();
    if (k > 0) {
      products_wait<1>();
      gemm_release(&shared.empty[before]);
    }
    before = at.stage;
    at.next();
  }
  products_wait<0>();
  pin(sum);
  gemm_release(&shared.empty[before]);
}

#endif

}  // namespace rlcpp::ops::cuda
