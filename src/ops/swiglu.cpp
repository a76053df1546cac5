#include "ops/swiglu.h"

#include "ops/checks.h"
#include "ops/cpu/swiglu.h"

namespace rlcpp::ops {

void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up) {
  require_cpu(ctx, "swiglu_forward");
  RLCPP_CHECK(y.rank() == 2 && is_f32(y, {y.dim(0), y.dim(1)}) && is_f32(gate_up, {y.dim(0), 2 * y.dim(1)}));
  cpu::swiglu_forward(ctx, y, gate_up);
}

void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up) {
  require_cpu(ctx, "swiglu_backward");
  RLCPP_CHECK(dy.rank() == 2 && is_f32(dy, {dy.dim(0), dy.dim(1)}));
  RLCPP_CHECK(is_f32(gate_up, {dy.dim(0), 2 * dy.dim(1)}) && is_f32(dgate_up, {dy.dim(0), 2 * dy.dim(1)}));
  cpu::swiglu_backward(ctx, dgate_up, dy, gate_up);
}

}  // namespace rlcpp::ops
