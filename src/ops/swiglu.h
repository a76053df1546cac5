// SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(a) = a / (1 + exp(-a)).
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// gate_up [M, 2 I]: gate in columns [0, I), up in [I, 2 I). y [M, I].
void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up);

// The product before it and SwiGLU: gate_up [M, 2 I] = x [M, K] w^T (+ bias [2 I]) (+ h [M, R] b^T), y [M, I]
// from its rounded values: the bits of the calls apart. packed, bias, and h with b (ops/adapter.h) may be
// empty. Unless `keep`, gate_up is memory for it, and what it holds afterwards is not said: a Hopper GPU has
// no need of it.
void linear_swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up, bool keep,
                           const Tensor& x, const Tensor& w, const Tensor& packed, const Tensor& bias,
                           const Tensor& h, const Tensor& b);

// dgate_up [M, 2 I] from dy [M, I]; may be the same memory as gate_up.
void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up);

}  // namespace rlcpp::ops
