// Decoding a few sequences at a time on a Hopper GPU or later, mode fast. A layer's weights take 10 us to
// read there, its ten operations take 5 us each to begin, so a layer is five: what stands between two
// products is computed on the way into the second or out of the first, and each operation begins while the
// one before it still runs, to have its weights and pages at hand when its rows are there.
//
// For that an operation here reads, before the one in front of it has ended: weights, gains, rope tables,
// positions, slots, block tables, and pages but for the row's own position. None of these may be written by
// an operation since the last one that is not of this file, nor by that one itself.
#pragma once

#include "ops/attention.h"

namespace rlcpp::ops {

constexpr std::int64_t kFewRows = 16;

// What a model asks of them.
struct FewRowsShape {
  std::int64_t hidden = 0, intermediate = 0;
  QkvShape qkv;
  std::int64_t page_size = 0;
};
// True if the context's device has them, in its mode, for `rows` rows of such a model.
bool takes_few_rows(const Context& ctx, const FewRowsShape& shape, std::int64_t rows);

// y [M, N] = rmsnorm(x [M, K], gain [K]) w [N, K]^T (+ bias [N]); the norm is rounded as rmsnorm_forward does
// it.
void norm_linear_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain, float eps,
                     const Tensor& w, const Tensor& bias);
// y [M, I] = silu(gate) * up of [gate, up] = rmsnorm(x) w [2 I, K]^T (+ bias [2 I]), rounded before SwiGLU.
void norm_linear_swiglu_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain,
                            float eps, const Tensor& w, const Tensor& bias);
// residual [M, N] += x [M, K] w^T (+ bias), the product rounded before it is added.
void linear_add_few(const Context& ctx, const Tensor& residual, const Tensor& x, const Tensor& w,
                    const Tensor& bias);

// The norms of q and k (empty gains: none), RoPE, kv_write and attention_paged at once. qkv [M, width] as the
// product left it; the other operands as those operations have them. Every row is of another sequence, or its
// slot is one that nobody reads.
struct FewRowsAttention {
  Tensor q_norm = {}, k_norm = {};  // [head_dim]
  float eps = 0;
  Tensor cos, sin;                                     // [P, head_dim / 2] f32
  Tensor positions, slots, sequence_of, block_tables;  // i32
  float scale = 0;
};
void attention_few(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                   const FewRowsAttention& how, const QkvShape& shape);

}  // namespace rlcpp::ops
