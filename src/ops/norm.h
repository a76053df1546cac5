// RMSNorm (Zhang and Sennrich 2019) as transformers computes it: y = x / sqrt(mean(x^2) + eps) * w,
// statistics in f32. exact: the sum over a row has one order that depends on the row's length alone.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// x, y [M, H]; w [H]; rstd [M] f32 receives 1 / sqrt(mean + eps) for the backward.
void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& x,
                     const Tensor& w, float eps);

// residual [M, H] += x [M, H], then y = rmsnorm(residual): the join between two sub-layers in one pass.
void add_rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                         const Tensor& x, const Tensor& w, float eps);

// dx [M, H] (+)= gradient through the norm, dw [H] += its weight gradient. x is the norm's input. dw may be
// empty (frozen weight). Rows are split into fixed blocks (of 64; of 16 on CUDA) whose dw partials are
// added in order.
void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx);

}  // namespace rlcpp::ops
