#include "ops/matmul.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/matmul.h"
#include "ops/cuda/matmul.h"

namespace rlcpp::ops {

std::int64_t packed_weight_size(const Context& ctx, std::int64_t n, std::int64_t k) {
  RLCPP_CHECK(n >= 0 && k >= 0);
  if (ctx.on_gpu()) return 0;
  return cpu::packed_weight_size(n, k);
}

void pack_weight(const Context& ctx, const Tensor& packed, const Tensor& w) {
  if (ctx.on_gpu()) return;
  RLCPP_CHECK(w.rank() == 2 && w.dtype() == DType::kF32);
  RLCPP_CHECK(packed.dtype() == DType::kF32 && packed.size() == cpu::packed_weight_size(w.dim(0), w.dim(1)));
  const LoggedCall logged(ctx, [&] {
    return Call{"pack_weight",
                {w.dim(0), w.dim(1)},
                {packed, w},
                0,
                bytes_of({packed, w}),
                [=](const Context& c, const Call::Operands& t) { pack_weight(c, t[0], t[1]); }};
  });
  cpu::pack_weight(ctx, packed, w);
}

void measure_products(const Context& ctx) {
  if (ctx.on_gpu()) cuda::measure_products(ctx);
}

std::vector<std::string> take_product_warnings(const Context& ctx) {
  return ctx.on_gpu() ? cuda::take_product_warnings(ctx) : std::vector<std::string>();
}

void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& packed, const Tensor& bias, bool accumulate) {
  RLCPP_CHECK(x.rank() == 2 && w.rank() == 2);
  RLCPP_CHECK(is_compute(ctx, w, {w.dim(0), x.dim(1)}) && is_compute(ctx, x, {x.dim(0), w.dim(1)}));
  RLCPP_CHECK(is_compute(ctx, y, {x.dim(0), w.dim(0)}));
  RLCPP_CHECK(packed.empty() || packed.size() == cpu::packed_weight_size(w.dim(0), w.dim(1)));
  RLCPP_CHECK(empty_or_compute(ctx, bias, {w.dim(0)}));
  const LoggedCall logged(ctx, [&] {
    return Call{accumulate ? "linear_forward (+=)" : "linear_forward",
                {x.dim(0), w.dim(0), x.dim(1)},
                {y, x, w, packed, bias},
                product_flops(x.dim(0), w.dim(0), x.dim(1)),
                bytes_of({y, accumulate ? y : Tensor(), x, w, bias}),
                [=](const Context& c, const Call::Operands& t) {
                  linear_forward(c, t[0], t[1], t[2], t[3], t[4], accumulate);
                }};
  });
  if (ctx.on_gpu()) return cuda::linear_forward(ctx, y, x, w, bias, accumulate);
  cpu::linear_forward(ctx, y, x, w, packed, bias, accumulate);
}

void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate) {
  RLCPP_CHECK(dy.rank() == 2 && w.rank() == 2);
  RLCPP_CHECK(is_compute(ctx, w, {dy.dim(1), w.dim(1)}) && is_compute(ctx, dy, {dy.dim(0), w.dim(0)}));
  RLCPP_CHECK(is_compute(ctx, dx, {dy.dim(0), w.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{accumulate ? "linear_backward_input (+=)" : "linear_backward_input",
                {dy.dim(0), w.dim(1), dy.dim(1)},
                {dx, dy, w},
                product_flops(dy.dim(0), w.dim(1), dy.dim(1)),
                bytes_of({dx, accumulate ? dx : Tensor(), dy, w}),
                [=](const Context& c, const Call::Operands& t) {
                  linear_backward_input(c, t[0], t[1], t[2], accumulate);
                }};
  });
  if (ctx.on_gpu()) return cuda::linear_backward_input(ctx, dx, dy, w, accumulate);
  cpu::linear_backward_input(ctx, dx, dy, w, accumulate);
}

void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate) {
  RLCPP_CHECK(dy.rank() == 2 && x.rank() == 2);
  RLCPP_CHECK(is_compute(ctx, dy, {x.dim(0), dy.dim(1)}) && is_compute(ctx, x, {dy.dim(0), x.dim(1)}));
  RLCPP_CHECK(is_f32(dw, {dy.dim(1), x.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{accumulate ? "linear_backward_weight (+=)" : "linear_backward_weight",
                {dy.dim(1), x.dim(1), x.dim(0)},
                {dw, dy, x},
                product_flops(dy.dim(1), x.dim(1), x.dim(0)),
                bytes_of({dw, accumulate ? dw : Tensor(), dy, x}),
                [=](const Context& c, const Call::Operands& t) {
                  linear_backward_weight(c, t[0], t[1], t[2], accumulate);
                }};
  });
  if (ctx.on_gpu()) return cuda::linear_backward_weight(ctx, dw, dy, x, accumulate);
  cpu::linear_backward_weight(ctx, dw, dy, x, accumulate);
}

void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate) {
  RLCPP_CHECK(dy.rank() == 2);
  RLCPP_CHECK(is_compute(ctx, dy, {dy.dim(0), db.dim(0)}) && is_f32(db, {dy.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        accumulate ? "linear_backward_bias (+=)" : "linear_backward_bias",
        {dy.dim(0), dy.dim(1)},
        {db, dy},
        0,
        bytes_of({db, dy}),
        [=](const Context& c, const Call::Operands& t) { linear_backward_bias(c, t[0], t[1], accumulate); }};
  });
  if (ctx.on_gpu()) return cuda::linear_backward_bias(ctx, db, dy, accumulate);
  cpu::linear_backward_bias(ctx, db, dy, accumulate);
}

}  // namespace rlcpp::ops
