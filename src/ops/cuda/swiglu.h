// CUDA form of ops/swiglu.h; shapes are checked there.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up);
void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up);

}  // namespace rlcpp::ops::cuda
