// Attention of 16 query rows by one warp over keys that lie in shared memory as a page holds them, on the
// tensor cores (mma.sync, m16n8k16). Decoding, prefilling and the trainer's exact forward are made of these
// functions, so a row has the same bits in all of them: keys in tiles of 64 at absolute positions, tiles in
// chunks (ops/paged_work.h), chunks merged in ascending order.
//
// A block is 16 keys of one head, [16, kDim] bf16; its 16-byte vectors are swizzled: vector v of key j lies
// at place v ^ (j mod 8), so that the eight rows of an ldmatrix lie in different banks.
#pragma once

#include <cstdint>

#include "ops/cuda/hopper.cuh"
#include "ops/cuda/mma.cuh"
#include "ops/cuda/reduce.cuh"
#include "ops/paged_work.h"

namespace rlcpp::ops::cuda {

#if RLCPP_SM90A

constexpr int kTileKeys = 64;
constexpr int kTileBlocks = kTileKeys / kPagedBlock;
constexpr int kChunkTiles = kPagedChunk / kTileKeys;
constexpr float kLowest = -1e30F;  // below every score; finite, so that differences are no NaN

// Rows as the first operand of a product: word i of step s holds dims 16 s + 2 (lane mod 4) + 8 (i / 2) and
// the next, of row lane / 4 + 8 (i mod 2).
template <int kDim>
struct QueryRows {
  std::uint32_t word[kDim / 16][4];
};

// The lane's words of row lane / 4 + 8 `half` from its memory at dim 2 (lane mod 4); zeros if it is null.
template <int kDim>
__device__ void load_query(QueryRows<kDim>& q, int half, const bf16* from) {
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
    q.word[s][half] = from == nullptr ? 0U : *reinterpret_cast<const std::uint32_t*>(from + 16 * s);
    q.word[s][half + 2] = from == nullptr ? 0U : *reinterpret_cast<const std::uint32_t*>(from + 16 * s + 8);
  }
}

// Sums over keys of the two rows that a lane has a part of, lane / 4 and lane / 4 + 8: out[i] holds dims 8 i
// + 2 (lane mod 4) and the next of the first row, then of the second.
template <int kDim>
struct RowSums {
  float out[kDim / 8][4];
  float most[2];   // largest score
  float total[2];  // sum of weights; of this lane's keys until finish()

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[i][j] = 0.0F;
    }
    most[0] = most[1] = kLowest;
    total[0] = total[1] = 0.0F;
  }
  __device__ void finish() {
#pragma unroll
    for (int r = 0; r < 2; ++r) total[r] = warp_sum<4>(total[r]);
  }
};

// What a chunk's sums and those of the chunks before it are multiplied with.
struct MergeFactors {
  float most, before, chunk;
  __device__ MergeFactors(float most_before, float most_chunk, float scale_log2) {
    most = fmaxf(most_before, most_chunk);
    before = fast_exp2(__fmul_rn(__fsub_rn(most_before, most), scale_log2));
    chunk = fast_exp2(__fmul_rn(__fsub_rn(most_chunk, most), scale_log2));
  }
  __device__ float operator()(float sum_before, float sum_chunk) const {
    return __fmaf_rn(sum_before, before, __fmul_rn(sum_chunk, chunk));
  }
};

__device__ inline void load_matrices(std::uint32_t (&words)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&words)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}
// Scores of a tile, whose block b begins at keys[b] in shared memory; blocks from `blocks` on are not read
// and left 0. scores[2 b + h] are of the h-th eight keys of block b, a lane has keys 2 (lane mod 4) and the
// next. Sums over the head run side by side, because each is a chain of products that wait for one another.
template <int kDim>
__device__ void tile_scores(float (&scores)[2 * kTileBlocks][4], const QueryRows<kDim>& q,
                            const std::uint32_t (&keys)[kTileBlocks], int blocks) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int i = 0; i < 2 * kTileBlocks; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) scores[i][j] = 0.0F;
  }
  const auto row = static_cast<std::uint32_t>(lane % 8 * kDim * 2);
#pragma unroll
  for (int pair = 0; pair < kDim / 32; ++pair) {
    const auto vector = static_cast<std::uint32_t>(((pair * 4 + lane / 8) ^ (lane % 8)) * 16);
#pragma unroll
    for (int b = 0; b < kTileBlocks; ++b) {
      if (b >= blocks) break;
      std::uint32_t first[4], second[4];
      load_matrices(first, keys[b] + row + vector);
      load_matrices(second, keys[b] + row + vector + 8 * kDim * 2);
      product_step(scores[2 * b], q.word[2 * pair], first[0], first[1]);
      product_step(scores[2 * b + 1], q.word[2 * pair], second[0], second[1]);
      product_step(scores[2 * b], q.word[2 * pair + 1], first[2], first[3]);
      product_step(scores[2 * b + 1], q.word[2 * pair + 1], second[2], second[3]);
    }
  }
}

// out += weights (of the block's 16 keys, as bf16) times its values. Values of keys from `valid` on are not
// read as numbers: nobody has written them.
template <int kDim>
__device__ void add_values(RowSums<kDim>& sums, const std::uint32_t (&weights)[4], std::uint32_t values,
                           int valid) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int key = lane % 16;
  const std::uint32_t row = values + static_cast<std::uint32_t>(key * kDim * 2);
  const int first = lane % 4 * 2;
  const bool whole = valid >= kPagedBlock;
  const auto keep = [&](std::uint32_t word, int at) {
    return word & ((at < valid ? 0xffffU : 0U) | (at + 1 < valid ? 0xffff0000U : 0U));
  };
#pragma unroll
  for (int pair = 0; pair < kDim / 16; ++pair) {
    std::uint32_t words[4];
    load_matrices_transposed(words,
                             row + static_cast<std::uint32_t>(((pair * 2 + lane / 16) ^ (key % 8)) * 16));
    if (!whole) {
      words[0] = keep(words[0], first);
      words[1] = keep(words[1], first + 8);
      words[2] = keep(words[2], first);
      words[3] = keep(words[3], first + 8);
    }
    product_step(sums.out[2 * pair], weights, words[0], words[1]);
    product_step(sums.out[2 * pair + 1], weights, words[2], words[3]);
  }
}

// A tile's scores become weights, and the sums so far those about the new maximum.
template <int kDim>
__device__ void weigh(RowSums<kDim>& sums, float (&scores)[2 * kTileBlocks][4], float scale_log2) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = sums.most[r];
#pragma unroll
    for (int i = 0; i < 2 * kTileBlocks; ++i)
      most = fmaxf(most, fmaxf(scores[i][2 * r], scores[i][2 * r + 1]));
    most = warp_reduce<4>(most, Max());
    const float shift = __fmul_rn(most, scale_log2);
    // Exactly 1 where the maximum stays, so that a tile without keys for this row changes no bit of it.
    const float factor = fast_exp2(__fmul_rn(__fsub_rn(sums.most[r], most), scale_log2));
    sums.most[r] = most;
    float total = __fmul_rn(sums.total[r], factor);
#pragma unroll
    for (int i = 0; i < 2 * kTileBlocks; ++i) {
#pragma unroll
      for (int j = 2 * r; j < 2 * r + 2; ++j) {
        scores[i][j] = fast_exp2(__fmaf_rn(scores[i][j], scale_log2, -shift));
        total = __fadd_rn(total, scores[i][j]);
      }
    }
    sums.total[r] = total;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      sums.out[i][2 * r] = __fmul_rn(sums.out[i][2 * r], factor);
      sums.out[i][2 * r + 1] = __fmul_rn(sums.out[i][2 * r + 1], factor);
    }
  }
}

// The weights of block `block` as the first operand of a product.
__device__ inline void weights_of(std::uint32_t (&words)[4], const float (&scores)[2 * kTileBlocks][4],
                                  int block) {
  words[0] = pack_bf16(scores[2 * block][0], scores[2 * block][1]);
  words[1] = pack_bf16(scores[2 * block][2], scores[2 * block][3]);
  words[2] = pack_bf16(scores[2 * block + 1][0], scores[2 * block + 1][1]);
  words[3] = pack_bf16(scores[2 * block + 1][2], scores[2 * block + 1][3]);
}

// One tile of keys, `keys` of which are there; block b begins at k[b] and v[b] in shared memory. Row r of the
// lane sees keys up to last_key[r], counted from the tile's first; `whole`: every row sees every key.
template <int kDim>
__device__ void attend_tile(RowSums<kDim>& sums, const QueryRows<kDim>& q,
                            const std::uint32_t (&k)[kTileBlocks], const std::uint32_t (&v)[kTileBlocks],
                            int keys, bool whole, const int (&last_key)[2], float scale_log2) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float scores[2 * kTileBlocks][4];
  tile_scores<kDim>(scores, q, k, (keys + kPagedBlock - 1) / kPagedBlock);
  if (!whole) {
#pragma unroll
    for (int i = 0; i < 2 * kTileBlocks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int key = 8 * i + lane % 4 * 2 + j % 2;
        if (key > last_key[j / 2]) scores[i][j] = -INFINITY;
      }
    }
  }
  weigh<kDim>(sums, scores, scale_log2);
#pragma unroll
  for (int b = 0; b < kTileBlocks; ++b) {
    if (b * kPagedBlock >= keys) break;
    std::uint32_t weights[4];
    weights_of(weights, scores, b);
    add_values<kDim>(sums, weights, v[b], keys - b * kPagedBlock);
  }
}
// The same where the tile's blocks lie one behind the other.
template <int kDim>
__device__ void attend_tile(RowSums<kDim>& sums, const QueryRows<kDim>& q, const bf16* k, const bf16* v,
                            int keys, bool whole, const int (&last_key)[2], float scale_log2) {
  std::uint32_t k_blocks[kTileBlocks], v_blocks[kTileBlocks];
#pragma unroll
  for (int b = 0; b < kTileBlocks; ++b) {
    k_blocks[b] = shared_address(k + b * kPagedBlock * kDim);
    v_blocks[b] = shared_address(v + b * kPagedBlock * kDim);
  }
  attend_tile<kDim>(sums, q, k_blocks, v_blocks, keys, whole, last_key, scale_log2);
}

// Takes the finished sums of the next chunk.
template <int kDim>
__device__ void merge_chunk(RowSums<kDim>& all, RowSums<kDim>& chunk, bool first, float scale_log2) {
  chunk.finish();
  if (first) {
    all = chunk;
    return;
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const MergeFactors factors(all.most[r], chunk.most[r], scale_log2);
    all.most[r] = factors.most;
    all.total[r] = factors(all.total[r], chunk.total[r]);
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      all.out[i][2 * r] = factors(all.out[i][2 * r], chunk.out[i][2 * r]);
      all.out[i][2 * r + 1] = factors(all.out[i][2 * r + 1], chunk.out[i][2 * r + 1]);
    }
  }
}

// out = the sums of row r of the lane over their total; `to` is the row's memory at dim 2 (lane mod 4).
template <int kDim>
__device__ void store_row(bf16* to, const RowSums<kDim>& all, int r) {
  const float factor = __fdividef(1.0F, all.total[r]);
#pragma unroll
  for (int i = 0; i < kDim / 8; ++i) {
    *reinterpret_cast<std::uint32_t*>(to + 8 * i) =
        pack_bf16(__fmul_rn(all.out[i][2 * r], factor), __fmul_rn(all.out[i][2 * r + 1], factor));
  }
}

// The query rows of a block of up to kPrefillRows: `count` neighbouring tokens from position `position` of
// their document, which is row `row` of the batch, times the query heads of a kv head.
template <int kDim>
struct TokenRows {
  QueryRows<kDim> q;
  int last_key[2];            // that each row of the lane sees; -1: there is no such row
  std::int64_t row[2];        // of the batch
  int head[2];                // query head
  int first_last, last_last;  // the last keys of the warp's first and last row; -1 without rows

  __device__ TokenRows(const bf16* qkv, std::int64_t width, int group, int kv_head, std::int64_t first_row,
                       int position, int count) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int used = count * group;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = warp * 16 + lane / 4 + 8 * half;
      const int token = r < used ? r / group : 0;
      row[half] = first_row + token;
      head[half] = kv_head * group + (r < used ? r % group : 0);
      last_key[half] = r < used ? position + token : -1;
      const bf16* const from = qkv + row[half] * width + head[half] * kDim + lane % 4 * 2;
      load_query<kDim>(q, half, r < used ? from : nullptr);
    }
    const int of_warp = min(used - warp * 16, 16);  // rows, or none
    first_last = of_warp > 0 ? position + warp * 16 / group : -1;
    last_last = of_warp > 0 ? position + (warp * 16 + of_warp - 1) / group : -1;
  }

  // The tile from key `begin` on, of a document with `keys` keys for this block.
  __device__ void attend(RowSums<kDim>& sums, const bf16* k, const bf16* v, int begin, int keys,
                         float scale_log2) const {
    const int last[2] = {last_key[0] - begin, last_key[1] - begin};
    attend_tile<kDim>(sums, q, k, v, min(keys - begin, kTileKeys), begin + kTileKeys - 1 <= first_last, last,
                      scale_log2);
  }
};

#endif

}  // namespace rlcpp::ops::cuda
