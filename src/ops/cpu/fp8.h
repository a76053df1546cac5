// CPU form of ops/fp8.h; shapes are checked there.
#pragma once

#include "ops/fp8.h"

namespace rlcpp::ops::cpu {

// out is f32 here, whatever accumulate is, and its sums are of 16 interleaved chains.
void fp8_largest(const Context& ctx, const Tensor& largest, const Tensor& x);
void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest);
void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate);

}  // namespace rlcpp::ops::cpu
