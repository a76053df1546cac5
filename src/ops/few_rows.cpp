#include "ops/few_rows.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cuda/few_rows.h"

namespace rlcpp::ops {
namespace {

void check_product(const Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias) {
  RLCPP_CHECK(ctx.on_gpu() && x.rank() == 2 && w.rank() == 2 && x.dim(0) <= kFewRows);
  RLCPP_CHECK(is_compute(ctx, x, {x.dim(0), w.dim(1)}) && is_compute(ctx, w, {w.dim(0), x.dim(1)}) &&
              empty_or_compute(ctx, bias, {w.dim(0)}));
}

}  // namespace

bool takes_few_rows(const Context& ctx, const FewRowsShape& shape, std::int64_t rows) {
  return ctx.on_gpu() && ctx.mode == NumericMode::kFast && rows >= 1 && rows <= kFewRows &&
         cuda::takes_few_rows(ctx, shape);
}

void norm_linear_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain, float eps,
                     const Tensor& w, const Tensor& bias) {
  check_product(ctx, x, w, bias);
  RLCPP_CHECK(is_compute(ctx, y, {x.dim(0), w.dim(0)}) && is_compute(ctx, gain, {x.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"norm_linear_few",
                {x.dim(0), w.dim(0), x.dim(1)},
                {y, x, gain, w, bias},
                product_flops(x.dim(0), w.dim(0), x.dim(1)),
                bytes_of({y, x, gain, w, bias}),
                [=](const Context& c, const Call::Operands& t) {
                  norm_linear_few(c, t[0], t[1], t[2], eps, t[3], t[4]);
                }};
  });
  cuda::norm_linear_few(ctx, y, x, gain, eps, w, bias);
}

void norm_linear_swiglu_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain,
                            float eps, const Tensor& w, const Tensor& bias) {
  check_product(ctx, x, w, bias);
  RLCPP_CHECK(w.dim(0) % 2 == 0 && is_compute(ctx, y, {x.dim(0), w.dim(0) / 2}) &&
              is_compute(ctx, gain, {x.dim(1)}));
  const LoggedCall logged(ctx, [&] {
    return Call{"norm_linear_swiglu_few",
                {x.dim(0), w.dim(0), x.dim(1)},
                {y, x, gain, w, bias},
                product_flops(x.dim(0), w.dim(0), x.dim(1)),
                bytes_of({y, x, gain, w, bias}),
                [=](const Context& c, const Call::Operands& t) {
                  norm_linear_swiglu_few(c, t[0], t[1], t[2], eps, t[3], t[4]);
                }};
  });
  cuda::norm_linear_swiglu_few(ctx, y, x, gain, eps, w, bias);
}

void linear_add_few(const Context& ctx, const Tensor& residual, const Tensor& x, const Tensor& w,
                    const Tensor& bias) {
  check_product(ctx, x, w, bias);
  RLCPP_CHECK(is_compute(ctx, residual, {x.dim(0), w.dim(0)}) && residual.raw() != x.raw());
  const LoggedCall logged(ctx, [&] {
    return Call{
        "linear_add_few",
        {x.dim(0), w.dim(0), x.dim(1)},
        {residual, x, w, bias},
        product_flops(x.dim(0), w.dim(0), x.dim(1)),
        bytes_of({residual, residual, x, w, bias}),
        [=](const Context& c, const Call::Operands& t) { linear_add_few(c, t[0], t[1], t[2], t[3]); }};
  });
  cuda::linear_add_few(ctx, residual, x, w, bias);
}

void attention_few(const Context& ctx, const Tensor& out, const Tensor& qkv, const KvPages& pages,
                   const FewRowsAttention& how, const QkvShape& shape) {
  const std::int64_t rows = qkv.dim(0), d = shape.head_dim;
  RLCPP_CHECK(ctx.on_gpu() && rows <= kFewRows && how.scale > 0);
  RLCPP_CHECK(is_compute(ctx, qkv, {rows, shape.width()}) &&
              is_compute(ctx, out, {rows, shape.num_heads * d}));
  for (const Tensor& t : {pages.k, pages.v}) {
    RLCPP_CHECK(t.rank() == 4 && is_compute(ctx, t, {t.dim(0), pages.page_size(), shape.num_kv_heads, d}));
  }
  RLCPP_CHECK(how.q_norm.empty() == how.k_norm.empty() && empty_or_compute(ctx, how.q_norm, {d}) &&
              empty_or_compute(ctx, how.k_norm, {d}));
  RLCPP_CHECK(is_f32(how.cos, {how.cos.dim(0), d / 2}) && is_f32(how.sin, {how.cos.dim(0), d / 2}));
  RLCPP_CHECK(is_i32(how.positions, {rows}) && is_i32(how.slots, {rows}) && is_i32(how.sequence_of, {rows}) &&
              how.block_tables.rank() == 2 && how.block_tables.dtype() == DType::kI32);
  cuda::attention_few(ctx, out, qkv, pages, how, shape);
}

}  // namespace rlcpp::ops
