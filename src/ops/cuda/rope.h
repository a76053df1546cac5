// CUDA form of ops/rope.h; shapes are checked there.
#pragma once

#include "ops/rope.h"

namespace rlcpp::ops::cuda {

void qk_norm_rope_forward(const Context& ctx, const Tensor& out, const Tensor& rstd, const Tensor& qkv,
                          const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                          const Tensor& positions, const QkvShape& shape, float eps);
void qk_norm_rope_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dq_norm,
                           const Tensor& dk_norm, const Tensor& dout, const Tensor& qkv, const Tensor& rstd,
                           const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                           const Tensor& positions, const QkvShape& shape, float eps);

}  // namespace rlcpp::ops::cuda
