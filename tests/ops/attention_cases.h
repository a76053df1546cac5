// Cases shared by the tests of packed and paged attention.
#pragma once

#include <algorithm>
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
  std::int64_t out_width() const { return shape.num_heads * shape.head_dim; }
  std::int64_t longest() const {
    std::int64_t longest = 0;
    for (std::size_t d = 1; d < cu_seqlens.size(); ++d)
      longest = std::max<std::int64_t>(longest, cu_seqlens[d] - cu_seqlens[d - 1]);
    return longest;
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

// lse is for the backward: its order on CUDA is the back end's own.
struct AttentionResult {
  Floats out, lse;
};

inline AttentionResult run_packed(const ops::Context& ctx, AttentionCase& c) {
  AttentionResult r = {poisoned(c.rows() * c.out_width()), poisoned(c.rows() * c.shape.num_heads)};
  const auto boundaries = static_cast<std::int64_t>(c.cu_seqlens.size());
  ops::attention_forward(ctx, on(ctx, r.out, {c.rows(), c.out_width()}),
                         f32(ctx, r.lse, {c.rows(), c.shape.num_heads}),
                         on(ctx, c.qkv, {c.rows(), c.shape.width()}),
                         {i32(ctx, c.cu_seqlens, {boundaries}), c.longest()}, c.shape, c.scale);
  return r;
}

inline Floats run_packed_backward(const ops::Context& ctx, AttentionCase& c, AttentionResult& r,
                                  Floats& dout) {
  Floats dqkv = poisoned(c.rows() * c.shape.width());
  Floats delta = poisoned(c.rows() * c.shape.num_heads);
  const auto boundaries = static_cast<std::int64_t>(c.cu_seqlens.size());
  ops::attention_backward(
      ctx, on(ctx, dqkv, {c.rows(), c.shape.width()}), on(ctx, dout, {c.rows(), c.out_width()}),
      on(ctx, r.out, {c.rows(), c.out_width()}), f32(ctx, r.lse, {c.rows(), c.shape.num_heads}),
      on(ctx, c.qkv, {c.rows(), c.shape.width()}), f32(ctx, delta, {c.rows(), c.shape.num_heads}),
      {i32(ctx, c.cu_seqlens, {boundaries}), c.longest()}, c.shape, c.scale);
  return dqkv;
}

// The kernels that a device has: every test of the packed form runs with each of them.
inline std::vector<ops::AttentionKernels> attention_kernels(const ops::Context& ctx) {
  using enum ops::AttentionKernels;
  return ctx.on_gpu() ? std::vector{kFastest, kLibrary, kPortable} : std::vector{kFastest};
}

// On CUDA the kernels round probabilities to bf16 before they multiply v, and gradients of scores before they
// multiply q and k; out, rounded too, enters the backward through rowsum(dout * out). Doing just that in
// float64 for cases like ours leaves errors of up to 2^-10.5 of the result's scale forward and 2^-8.6
// backward, beside the rounding of the result; the bounds leave room for other orders and long documents.
inline Tolerance attention_tolerance(const ops::Context& ctx) {
  return tolerance(ctx, 2e-6, 0x1p-9);
}
inline Tolerance attention_backward_tolerance(const ops::Context& ctx) {
  return tolerance(ctx, 5e-6, 0x1p-7);
}

}  // namespace rlcpp::test
