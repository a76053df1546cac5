#include "ops/muon.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/muon.h"
#include "ops/cuda/muon.h"

namespace rlcpp::ops {

void momentum(const Context& ctx, const Tensor& m, const Tensor& g, double beta, float factor) {
  RLCPP_CHECK(m.dtype() == DType::kF32 && g.dtype() == DType::kF32 && m.size() == g.size());
  const LoggedCall logged(ctx, [&] {
    return Call{"momentum",
                {m.size()},
                {m, g},
                0,
                bytes_of({m, m, g}),
                [=](const Context& c, const Call::Operands& t) { momentum(c, t[0], t[1], beta, factor); }};
  });
  if (ctx.on_gpu()) return cuda::momentum(ctx, m, g, beta, factor);
  cpu::momentum(ctx, m, g, beta, factor);
}

void scaled_matrix(const Context& ctx, const Tensor& x, const Tensor& m, double factor, bool transpose) {
  RLCPP_CHECK(m.rank() == 2 && m.dtype() == DType::kF32);
  const std::int64_t rows = m.dim(0), columns = m.dim(1);
  RLCPP_CHECK(transpose ? is_compute(ctx, x, {columns, rows}) : is_compute(ctx, x, {rows, columns}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        "scaled_matrix",
        {rows, columns},
        {x, m},
        0,
        bytes_of({x, m}),
        [=](const Context& c, const Call::Operands& t) { scaled_matrix(c, t[0], t[1], factor, transpose); }};
  });
  if (ctx.on_gpu()) return cuda::scaled_matrix(ctx, x, m, factor, transpose);
  cpu::scaled_matrix(ctx, x, m, factor, transpose);
}

void matrix_polynomial(const Context& ctx, const Tensor& out, const Tensor& p, const Tensor& q, double a,
                       double b, double c) {
  RLCPP_CHECK(out.rank() == 2 && out.dim(0) == out.dim(1));
  const std::int64_t n = out.dim(0);
  RLCPP_CHECK(is_compute(ctx, out, {n, n}) && is_compute(ctx, p, {n, n}) && is_compute(ctx, q, {n, n}));
  const LoggedCall logged(ctx, [&] {
    return Call{"matrix_polynomial",
                {n, n},
                {out, p, q},
                0,
                bytes_of({out, p, q}),
                [=](const Context& other, const Call::Operands& t) {
                  matrix_polynomial(other, t[0], t[1], t[2], a, b, c);
                }};
  });
  if (ctx.on_gpu()) return cuda::matrix_polynomial(ctx, out, p, q, a, b, c);
  cpu::matrix_polynomial(ctx, out, p, q, a, b, c);
}

void apply_direction(const Context& ctx, const Tensor& w, const Tensor& x, const DirectionStep& step,
                     const Tensor& working) {
  RLCPP_CHECK(w.dtype() == DType::kF32 && x.rank() == 2 && x.dtype() == ctx.compute_type());
  RLCPP_CHECK(step.columns == x.dim(step.transpose ? 0 : 1));
  RLCPP_CHECK(step.first >= 0 && step.first + w.size() <= x.size());
  RLCPP_CHECK(working.empty() || (working.dtype() == ctx.compute_type() && working.size() == w.size()));
  const LoggedCall logged(ctx, [&] {
    return Call{
        "apply_direction",
        {w.size()},
        {w, x, working},
        0,
        bytes_of({w, w, x, working}),
        [=](const Context& c, const Call::Operands& t) { apply_direction(c, t[0], t[1], step, t[2]); }};
  });
  if (ctx.on_gpu()) return cuda::apply_direction(ctx, w, x, step, working);
  RLCPP_CHECK(working.empty());
  cpu::apply_direction(ctx, w, x, step);
}

}  // namespace rlcpp::ops
