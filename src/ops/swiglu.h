// SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(a) = a / (1 + exp(-a)).
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// gate_up [M, 2 I]: gate in columns [0, I), up in [I, 2 I). y [M, I].
void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up);

// dgate_up [M, 2 I] from dy [M, I]; may be the same memory as gate_up.
void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up);

}  // namespace rlcpp::ops
