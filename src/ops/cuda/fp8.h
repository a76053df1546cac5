// CUDA form of ops/fp8.h; shapes are checked there.
#pragma once

#include "ops/fp8.h"

namespace rlcpp::ops::cuda {

bool has_fp8(const Context& ctx);
void fp8_largest(const Context& ctx, const Tensor& largest, const Tensor& x);
void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest);
void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate, Fp8Sums sums);

}  // namespace rlcpp::ops::cuda
