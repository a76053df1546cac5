// What Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") needs besides
// matrix products: the direction of a matrix's update is its momentum made orthogonal by Newton-Schulz
// iterations, which are products in the compute type (ops/matmul.h).
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// m = beta * m + factor * g; all f32, of one size.
void momentum(const Context& ctx, const Tensor& m, const Tensor& g, double beta, float factor);

// x = factor * m, or of its transpose: m [rows, columns] f32, x of the compute type, [rows, columns] or
// [columns, rows].
void scaled_matrix(const Context& ctx, const Tensor& x, const Tensor& m, double factor, bool transpose);

// out = a * I + b * p + c * q; all [n, n] of the compute type; out may be p or q.
void matrix_polynomial(const Context& ctx, const Tensor& out, const Tensor& p, const Tensor& q, double a,
                       double b, double c);

// Elements [first, first + w.size()) of a matrix with `columns` columns: w = keep * w - rate * x. w is flat
// f32; x is the whole matrix, or its transpose, in the compute type. `working` as for adamw
// (ops/optimizer.h).
struct DirectionStep {
  double keep = 1, rate = 0;
  std::int64_t first = 0, columns = 0;
  bool transpose = false;
};
void apply_direction(const Context& ctx, const Tensor& w, const Tensor& x, const DirectionStep& step,
                     const Tensor& working = {});

}  // namespace rlcpp::ops
