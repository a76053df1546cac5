#include "ops/norm.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/norm.h"
#include "ops/cuda/norm.h"

namespace rlcpp::ops {

void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& x,
                     const Tensor& w, float eps) {
  RLCPP_CHECK(x.rank() == 2 && is_compute(ctx, x, {x.dim(0), w.dim(0)}) &&
              is_compute(ctx, y, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, w, {x.dim(1)}) && is_f32(rstd, {x.dim(0)}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        "rmsnorm_forward",
        {x.dim(0), x.dim(1)},
        {y, rstd, x, w},
        0,
        bytes_of({y, rstd, x, w}),
        [=](const Context& c, const Call::Operands& t) { rmsnorm_forward(c, t[0], t[1], t[2], t[3], eps); }};
  });
  if (ctx.on_gpu()) return cuda::rmsnorm_forward(ctx, y, rstd, Tensor(), x, w, eps);
  cpu::rmsnorm_forward(ctx, y, rstd, Tensor(), x, w, eps);
}

void add_rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                         const Tensor& x, const Tensor& w, float eps) {
  RLCPP_CHECK(x.rank() == 2 && is_compute(ctx, x, {x.dim(0), w.dim(0)}) &&
              is_compute(ctx, y, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, residual, {x.dim(0), x.dim(1)}) && is_compute(ctx, w, {x.dim(1)}) &&
              is_f32(rstd, {x.dim(0)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"add_rmsnorm_forward",
                {x.dim(0), x.dim(1)},
                {y, rstd, residual, x, w},
                0,
                bytes_of({y, rstd, residual, residual, x, w}),
                [=](const Context& c, const Call::Operands& t) {
                  add_rmsnorm_forward(c, t[0], t[1], t[2], t[3], t[4], eps);
                }};
  });
  if (ctx.on_gpu()) return cuda::rmsnorm_forward(ctx, y, rstd, residual, x, w, eps);
  cpu::rmsnorm_forward(ctx, y, rstd, residual, x, w, eps);
}

void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx) {
  RLCPP_CHECK(x.rank() == 2 && is_compute(ctx, x, {x.dim(0), w.dim(0)}) &&
              is_compute(ctx, dy, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, dx, {x.dim(0), x.dim(1)}) && is_compute(ctx, w, {x.dim(1)}) &&
              is_f32(rstd, {x.dim(0)}));
  RLCPP_CHECK(empty_or_f32(dw, {x.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{accumulate_dx ? "rmsnorm_backward (+=)" : "rmsnorm_backward",
                {x.dim(0), x.dim(1)},
                {dx, dw, dy, x, w, rstd},
                0,
                bytes_of({dx, accumulate_dx ? dx : Tensor(), dw, dw, dy, x, w, rstd}),
                [=](const Context& c, const Call::Operands& t) {
                  rmsnorm_backward(c, t[0], t[1], t[2], t[3], t[4], t[5], accumulate_dx);
                }};
  });
  if (ctx.on_gpu()) return cuda::rmsnorm_backward(ctx, dx, dw, dy, x, w, rstd, accumulate_dx);
  cpu::rmsnorm_backward(ctx, dx, dw, dy, x, w, rstd, accumulate_dx);
}

}  // namespace rlcpp::ops
