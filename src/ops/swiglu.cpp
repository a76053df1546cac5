#include "ops/swiglu.h"

#include "ops/adapter.h"
#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/swiglu.h"
#include "ops/cuda/matmul.h"
#include "ops/cuda/swiglu.h"
#include "ops/matmul.h"

namespace rlcpp::ops {

void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up) {
  RLCPP_CHECK(y.rank() == 2 && is_compute(ctx, y, {y.dim(0), y.dim(1)}) &&
              is_compute(ctx, gate_up, {y.dim(0), 2 * y.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"swiglu_forward",
                {y.dim(0), y.dim(1)},
                {y, gate_up},
                0,
                bytes_of({y, gate_up}),
                [=](const Context& c, const Call::Operands& t) { swiglu_forward(c, t[0], t[1]); }};
  });
  if (ctx.on_gpu()) return cuda::swiglu_forward(ctx, y, gate_up);
  cpu::swiglu_forward(ctx, y, gate_up);
}

void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up) {
  RLCPP_CHECK(dy.rank() == 2 && is_compute(ctx, dy, {dy.dim(0), dy.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, gate_up, {dy.dim(0), 2 * dy.dim(1)}) &&
              is_compute(ctx, dgate_up, {dy.dim(0), 2 * dy.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"swiglu_backward",
                {dy.dim(0), dy.dim(1)},
                {dgate_up, dy, gate_up},
                0,
                bytes_of({dgate_up, dy, gate_up}),
                [=](const Context& c, const Call::Operands& t) { swiglu_backward(c, t[0], t[1], t[2]); }};
  });
  if (ctx.on_gpu()) return cuda::swiglu_backward(ctx, dgate_up, dy, gate_up);
  cpu::swiglu_backward(ctx, dgate_up, dy, gate_up);
}

void linear_swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up, bool keep,
                           const Tensor& x, const Tensor& w, const Tensor& packed, const Tensor& bias,
                           const Tensor& h, const Tensor& b) {
  RLCPP_CHECK(x.rank() == 2 && w.rank() == 2 && w.dim(0) % 2 == 0);
  RLCPP_CHECK(is_compute(ctx, x, {x.dim(0), w.dim(1)}) && is_compute(ctx, w, {w.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, y, {x.dim(0), w.dim(0) / 2}) && is_compute(ctx, gate_up, {x.dim(0), w.dim(0)}));
  RLCPP_CHECK(h.empty() == b.empty());
  const LoggedCall logged(ctx, [&] {
    return Call{keep ? "linear_swiglu_forward, kept" : "linear_swiglu_forward",
                {x.dim(0), w.dim(0), x.dim(1)},
                {y, gate_up, x, w, packed, bias, h, b},
                product_flops(x.dim(0), w.dim(0), x.dim(1)) +
                    (b.empty() ? 0.0 : product_flops(x.dim(0), w.dim(0), b.dim(1))),
                bytes_of({y, keep ? gate_up : Tensor(), x, w, bias, h, b}),
                [=](const Context& c, const Call::Operands& t) {
                  linear_swiglu_forward(c, t[0], t[1], keep, t[2], t[3], t[4], t[5], t[6], t[7]);
                }};
  });
  // The engine, whose batches are small, computes the two apart, and exact wants the trainer to do as it
  // does.
  const bool together = ctx.on_gpu() && bias.empty() && ctx.mode == NumericMode::kFast;
  if (together && cuda::linear_swiglu_forward(ctx, y, gate_up, keep, x, w, h, b)) return;
  if (b.empty()) {
    linear_forward(ctx, gate_up, x, w, packed, bias);
  } else {
    adapted_forward(ctx, gate_up, x, w, packed, bias, h, b);
  }
  swiglu_forward(ctx, y, gate_up);
}

}  // namespace rlcpp::ops
