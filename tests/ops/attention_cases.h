// Cases shared by the tests of packed and paged attention.
#pragma once

#include <cmath>
#include <vector>

#include "ops/attention.h"
#include "ops/ops_support.h"

namespace rlcpp::test {

struct AttentionCase {
  ops::QkvShape shape;
  Ints cu_seqlens;
  Floats qkv;
  float scale = 1;
  std::int64_t rows() const { return cu_seqlens.back(); }
  ops::Documents documents() {
    std::int64_t longest = 0;
    for (std::size_t d = 1; d < cu_seqlens.size(); ++d)
      longest = std::max<std::int64_t>(longest, cu_seqlens[d] - cu_seqlens[d - 1]);
    return {view(cu_seqlens, {static_cast<std::int64_t>(cu_seqlens.size())}), longest};
  }
};

inline AttentionCase make_attention_case(Random& random, const ops::QkvShape& shape,
                                         const std::vector<std::int64_t>& lengths) {
  AttentionCase c;
  c.shape = shape;
  c.cu_seqlens = {0};
  for (const std::int64_t length : lengths)
    c.cu_seqlens.push_back(c.cu_seqlens.back() + static_cast<std::int32_t>(length));
  c.qkv = random.normal(c.rows() * shape.width());
  c.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
  return c;
}

struct AttentionResult {
  Floats out, lse;
};

inline AttentionResult run_packed(const ops::Context& ctx, AttentionCase& c) {
  const std::int64_t out_width = c.shape.num_heads * c.shape.head_dim;
  AttentionResult r = {poisoned(c.rows() * out_width), poisoned(c.rows() * c.shape.num_heads)};
  ops::attention_forward(ctx, view(r.out, {c.rows(), out_width}), view(r.lse, {c.rows(), c.shape.num_heads}),
                         view(c.qkv, {c.rows(), c.shape.width()}), c.documents(), c.shape, c.scale);
  return r;
}

}  // namespace rlcpp::test
