// What the kernels of the paged cache are launched with. A page holds [num_kv_heads, page_size, head_dim],
// for k and for v. Where rows of heads are multiples of 128 bytes, the 16-byte vectors of a key are swizzled:
// vector v of the key at `place` lies at v ^ (place mod 8), as the tensor cores' loads want it
// (paged_tile.cuh).
#pragma once

#include <cstdint>

#include "ops/attention.h"
#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {

constexpr int kPagedHeads =
    8;  // query heads of one kv head that a block of the portable kernel computes together

struct PagedArgs {
  const bf16* qkv;
  bf16 *k_pages, *v_pages;
  bf16* out;
  const std::int32_t *slots, *positions, *sequence_of, *block_tables;
  std::int64_t rows, width, out_width, max_pages;
  int num_heads, num_kv_heads, group, slices;  // slices of kPagedHeads that a group has
  int head_dim, page_size;
  float scale;
  bool aligned, swizzled;
};
PagedArgs paged_args(const KvPages& pages, const Tensor& qkv, const QkvShape& shape);

// Where the vector of a head begins in k_pages and v_pages.
__device__ inline std::int64_t page_offset(const PagedArgs& args, std::int64_t page, int kv_head, int place) {
  return ((page * args.num_kv_heads + kv_head) * args.page_size + place) * args.head_dim;
}
// Where its elements [column, column + kVector) lie, from there; column is a multiple of kVector.
__device__ inline int page_column(const PagedArgs& args, int place, int column) {
  return args.swizzled ? column ^ (place % 8 * kVector) : column;
}

// The kernels for Hopper; `args` has everything but slots. False without the code for this GPU.
struct PagedWorkArgs {
  const std::int32_t *decode, *prefill, *counts;
  float* partials;
  std::int32_t* arrivals;
  int max_chunks;
  float scale_log2;  // scale / ln 2
};
bool has_paged_kernels(int head_dim);
void decode_paged(const Context& ctx, const PagedArgs& args, const PagedWorkArgs& work);
void prefill_paged(const Context& ctx, const PagedArgs& args, const PagedWorkArgs& work,
                   std::int64_t entries);

}  // namespace rlcpp::ops::cuda
