// Per-head RMSNorm of q and k (Qwen3) and rotary positions (Su et al. 2021) in the half-split form of HF
// models: (a, b) = (x[i], x[i + d/2]) -> (a cos - b sin, b cos + a sin).
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

struct QkvShape {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t width() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
};

// qkv [M, width]: heads of q, then k, then v, as the fused projection wrote them. Writes normalised (if the
// norm weights [head_dim] are not empty) and rotated q and k, and v unchanged, to out [M, width] (may be the
// same memory as qkv). cos, sin [P, head_dim / 2] f32; positions [M] i32, each < P. rstd [M, num_heads +
// num_kv_heads] is written when there are norms, else it may be empty.
void qk_norm_rope_forward(const Context& ctx, const Tensor& out, const Tensor& rstd, const Tensor& qkv,
                          const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                          const Tensor& positions, const QkvShape& shape, float eps);

// dqkv [M, width] from dout [M, width] (may be the same memory); dq_norm, dk_norm [head_dim] += (may be empty
// when there are no norms or they are frozen). qkv is the forward's input.
void qk_norm_rope_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dq_norm,
                           const Tensor& dk_norm, const Tensor& dout, const Tensor& qkv, const Tensor& rstd,
                           const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                           const Tensor& positions, const QkvShape& shape, float eps);

}  // namespace rlcpp::ops
