// Square tiles of attention in shared memory and their products on the tensor cores, for kernels of 256
// threads. head_dim is padded with zeros to a multiple of 16.
#pragma once

#include <mma.h>

#include <cstdint>

#include "ops/cuda/reduce.cuh"
#include "ops/cuda/vector.cuh"

namespace rlcpp::ops::cuda {

constexpr int kTileThreads = 256;
constexpr int kTileWarps = kTileThreads / kWarp;
constexpr int kMma = 16;  // rows, columns and depth of one product of the tensor cores

// A tile of kTile rows by padded_dim values has at most this many 16 x 16 blocks a warp: kTile * padded_dim
// is at most kTileValues.
constexpr int kTileValues = 8192;
constexpr int kBlocksPerWarp = kTileValues / (kMma * kMma) / kTileWarps;

using Accumulator = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kMma, kMma, kMma, float>;

// Distances between rows, in elements; the padding keeps the rows off the same banks and 16-byte aligned.
__host__ __device__ constexpr int bf16_row(int columns) {
  return columns + 8;
}
__host__ __device__ constexpr int f32_row(int columns) {
  return columns + 4;
}

// kTile rows of head_dim values, `stride` apart, from row `first`; rows at or beyond `end` become zeros.
template <int kTile>
__device__ void load_tile(bf16* tile, int padded_dim, const bf16* rows, std::int64_t stride,
                          std::int64_t first, std::int64_t end, int head_dim, bool aligned) {
  const int vectors = padded_dim / kVector;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * vectors; i += kTileThreads) {
    const int row = i / vectors;
    const int column = i % vectors * kVector;
    const bf16* from = rows + (first + row) * stride + column;
    uint4 words = {0, 0, 0, 0};
    const int count = first + row < end ? head_dim - column : 0;
    if (count > 0) words = aligned ? *reinterpret_cast<const uint4*>(from) : pack(load_upto(from, count));
    *reinterpret_cast<uint4*>(tile + row * bf16_row(padded_dim) + column) = words;
  }
}

// scores [kTile, kTile] = a b^T over padded_dim.
template <int kTile>
__device__ void tile_scores(float* scores, const bf16* a, const bf16* b, int padded_dim) {
  using namespace nvcuda;
  constexpr int kSide = kTile / kMma;
  const int stride = bf16_row(padded_dim);
  for (int block = static_cast<int>(threadIdx.x) / kWarp; block < kSide * kSide; block += kTileWarps) {
    const bf16* a_rows = a + block % kSide * kMma * stride;
    const bf16* b_rows = b + block / kSide * kMma * stride;
    Accumulator sum;
    wmma::fill_fragment(sum, 0.0F);
    for (int k = 0; k < padded_dim; k += kMma) {
      wmma::fragment<wmma::matrix_a, kMma, kMma, kMma, bf16, wmma::row_major> left;
      wmma::fragment<wmma::matrix_b, kMma, kMma, kMma, bf16, wmma::col_major> right;
      wmma::load_matrix_sync(left, a_rows + k, stride);
      wmma::load_matrix_sync(right, b_rows + k, stride);
      wmma::mma_sync(sum, left, right, sum);
    }
    float* to = scores + block % kSide * kMma * f32_row(kTile) + block / kSide * kMma;
    wmma::store_matrix_sync(to, sum, f32_row(kTile), wmma::mem_row_major);
  }
}

// A warp's share of a [kTile, padded_dim] sum that stays in registers.
template <int kTile>
struct TileSum {
  Accumulator blocks[kBlocksPerWarp];

  __device__ TileSum() {
#pragma unroll
    for (Accumulator& block : blocks) nvcuda::wmma::fill_fragment(block, 0.0F);
  }

  // += w b, or w^T b: w [kTile, kTile] bf16, b [kTile, padded_dim].
  template <bool kTransposed>
  __device__ void add(const bf16* w, const bf16* b, int padded_dim) {
    using namespace nvcuda;
    using Layout = std::conditional_t<kTransposed, wmma::col_major, wmma::row_major>;
    constexpr int kSide = kTile / kMma;
    constexpr int kStride = bf16_row(kTile);
    const int count = kSide * padded_dim / kMma;
#pragma unroll
    for (int i = 0; i < kBlocksPerWarp; ++i) {
      const int block = static_cast<int>(threadIdx.x) / kWarp + i * kTileWarps;
      if (block >= count) break;
      const int row = block % kSide * kMma;
      const int column = block / kSide * kMma;
#pragma unroll
      for (int k = 0; k < kTile; k += kMma) {
        wmma::fragment<wmma::matrix_a, kMma, kMma, kMma, bf16, Layout> left;
        wmma::fragment<wmma::matrix_b, kMma, kMma, kMma, bf16, wmma::row_major> right;
        wmma::load_matrix_sync(left, kTransposed ? w + k * kStride + row : w + row * kStride + k, kStride);
        wmma::load_matrix_sync(right, b + k * bf16_row(padded_dim) + column, bf16_row(padded_dim));
        wmma::mma_sync(blocks[i], left, right, blocks[i]);
      }
    }
  }

  // Rounds rows [first, end) to bf16 and writes them `stride` apart. `staging`: shared memory of kTile *
  // f32_row(padded_dim) floats that nobody reads any more. All threads call it; it begins and ends with a
  // barrier.
  __device__ void store(bf16* rows, std::int64_t stride, std::int64_t first, std::int64_t end, int head_dim,
                        int padded_dim, bool aligned, float* staging) const {
    constexpr int kSide = kTile / kMma;
    const int count = kSide * padded_dim / kMma;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kBlocksPerWarp; ++i) {
      const int block = static_cast<int>(threadIdx.x) / kWarp + i * kTileWarps;
      if (block >= count) break;
      float* to = staging + block % kSide * kMma * f32_row(padded_dim) + block / kSide * kMma;
      nvcuda::wmma::store_matrix_sync(to, blocks[i], f32_row(padded_dim), nvcuda::wmma::mem_row_major);
    }
    __syncthreads();
    const int vectors = padded_dim / kVector;
    for (int i = static_cast<int>(threadIdx.x); i < kTile * vectors; i += kTileThreads) {
      const int row = i / vectors;
      const int column = i % vectors * kVector;
      const int values = first + row < end ? head_dim - column : 0;
      if (values <= 0) continue;
      const Float8 value = load8(staging + row * f32_row(padded_dim) + column);
      bf16* to = rows + (first + row) * stride + column;
      if (aligned) {
        store8(to, value);
      } else {
        store_upto(to, value, values);
      }
    }
    __syncthreads();
  }
};

}  // namespace rlcpp::ops::cuda
