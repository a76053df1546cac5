// How much scratch attention's backward on a GPU is planned to have: arithmetic alone, so that a plan can be
// made where no GPU is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops/rope.h"

namespace rlcpp::ops {

// The deterministic backward is cut into fewer heads at a time down to this: 8 heads of 8192 tokens keep an
// H100 full.
constexpr std::size_t kPreferredAttentionScratch = std::size_t{1280} << 20;
// One kv head of one document may take more than that, up to here; longer documents go to our own kernels.
constexpr std::size_t kMostAttentionScratch = std::size_t{5} << 30;

constexpr std::int64_t kCudnnTile = 128;

// The matrix of p and its gradient that the deterministic backward keeps, in bf16.
inline std::size_t attention_matrix_bytes(std::int64_t documents, std::int64_t heads, std::int64_t length) {
  const std::int64_t padded = (length + kCudnnTile - 1) / kCudnnTile * kCudnnTile;
  return static_cast<std::size_t>(documents * heads * padded * padded) * 2;
}
// With dk and dv of every query head (f32 at most), sums of rows, and room for what cuDNN aligns.
inline std::size_t attention_backward_bytes(std::int64_t heads, std::int64_t length, std::int64_t head_dim) {
  return attention_matrix_bytes(1, heads, length) +
         static_cast<std::size_t>(heads * length * (2 * head_dim + 2)) * 4 + (std::size_t{1} << 20);
}

// For rows of `tokens`: a single document as long as the row needs more than the row cut into several.
inline std::size_t attention_backward_scratch(const QkvShape& shape, std::int64_t tokens) {
  const std::size_t whole = attention_backward_bytes(shape.num_heads, tokens, shape.head_dim);
  const std::size_t least =
      attention_backward_bytes(shape.num_heads / shape.num_kv_heads, tokens, shape.head_dim);
  return std::min(whole, least <= kMostAttentionScratch ? std::max(least, kPreferredAttentionScratch)
                                                        : kPreferredAttentionScratch);
}

}  // namespace rlcpp::ops
