#include "ops/norm.h"

#include "ops/checks.h"
#include "ops/cpu/norm.h"

namespace rlcpp::ops {

void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& x,
                     const Tensor& w, float eps) {
  require_cpu(ctx, "rmsnorm_forward");
  RLCPP_CHECK(x.rank() == 2 && is_f32(x, {x.dim(0), w.dim(0)}) && is_f32(y, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_f32(w, {x.dim(1)}) && is_f32(rstd, {x.dim(0)}));
  cpu::rmsnorm_forward(ctx, y, rstd, Tensor(), x, w, eps);
}

void add_rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                         const Tensor& x, const Tensor& w, float eps) {
  require_cpu(ctx, "add_rmsnorm_forward");
  RLCPP_CHECK(x.rank() == 2 && is_f32(x, {x.dim(0), w.dim(0)}) && is_f32(y, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_f32(residual, {x.dim(0), x.dim(1)}) && is_f32(w, {x.dim(1)}) && is_f32(rstd, {x.dim(0)}));
  cpu::rmsnorm_forward(ctx, y, rstd, residual, x, w, eps);
}

void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx) {
  require_cpu(ctx, "rmsnorm_backward");
  RLCPP_CHECK(x.rank() == 2 && is_f32(x, {x.dim(0), w.dim(0)}) && is_f32(dy, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_f32(dx, {x.dim(0), x.dim(1)}) && is_f32(w, {x.dim(1)}) && is_f32(rstd, {x.dim(0)}));
  RLCPP_CHECK(empty_or_f32(dw, {x.dim(1)}));
  cpu::rmsnorm_backward(ctx, dx, dw, dy, x, w, rstd, accumulate_dx);
}

}  // namespace rlcpp::ops
