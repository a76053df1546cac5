// CUDA form of ops/norm.h; shapes are checked there.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

// residual may be empty.
void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                     const Tensor& x, const Tensor& w, float eps);
void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx);

}  // namespace rlcpp::ops::cuda
