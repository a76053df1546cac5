// CUDA form of ops/muon.h; shapes are checked there.
#pragma once

#include "ops/muon.h"

namespace rlcpp::ops::cuda {

void momentum(const Context& ctx, const Tensor& m, const Tensor& g, double beta, float factor);
void scaled_matrix(const Context& ctx, const Tensor& x, const Tensor& m, double factor, bool transpose);
void matrix_polynomial(const Context& ctx, const Tensor& out, const Tensor& p, const Tensor& q, double a,
                       double b, double c);
void apply_direction(const Context& ctx, const Tensor& w, const Tensor& x, const DirectionStep& step,
                     const Tensor& working);

}  // namespace rlcpp::ops::cuda
