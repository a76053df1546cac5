#include "ops/fp8.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/fp8.h"
#include "ops/cuda/fp8.h"

namespace rlcpp::ops {
namespace {

bool is_fp8(const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return has_shape(t, DType::kU8, shape);
}

bool is_scale(const Context& ctx, const Tensor& t) {
  return is_f32(t, {1}) && (!ctx.on_gpu() || reinterpret_cast<std::uintptr_t>(t.raw()) % 16 == 0);
}

}  // namespace

bool has_fp8(const Context& ctx) {
  // A context to plan with stands for a GPU that has them.
  return !ctx.on_gpu() || ctx.cuda == nullptr || cuda::has_fp8(ctx);
}

void fp8_largest(const Context& ctx, const Tensor& largest, const Tensor& x) {
  RLCPP_CHECK(x.rank() == 2 && is_compute(ctx, x, {x.dim(0), x.dim(1)}) && x.dim(1) % kFp8Step == 0);
  RLCPP_CHECK(is_f32(largest, {1}));
  const LoggedCall logged(ctx, [&] {
    return Call{"fp8_largest",
                {x.dim(0), x.dim(1)},
                {largest, x},
                0,
                bytes_of({largest, x}),
                [](const Context& c, const Call::Operands& t) { fp8_largest(c, t[0], t[1]); }};
  });
  if (ctx.on_gpu()) return cuda::fp8_largest(ctx, largest, x);
  cpu::fp8_largest(ctx, largest, x);
}

void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest) {
  RLCPP_CHECK(x.rank() == 2 && is_compute(ctx, x, {x.dim(0), x.dim(1)}) && x.dim(1) % kFp8Step == 0);
  RLCPP_CHECK(is_f32(largest, {1}) && is_f32(scale, {1}));
  RLCPP_CHECK(q.empty() || is_fp8(q, {x.dim(0), x.dim(1)}));
  RLCPP_CHECK(qt.empty() || is_fp8(qt, {x.dim(1), fp8_padded(x.dim(0))}));
  const LoggedCall logged(ctx, [&] {
    return Call{
        qt.empty()  ? "fp8_quantize"
        : q.empty() ? "fp8_quantize (transposed)"
                    : "fp8_quantize (both ways)",
        {x.dim(0), x.dim(1)},
        {q, qt, scale, x, largest},
        0,
        bytes_of({q, qt, scale, x, largest}),
        [](const Context& c, const Call::Operands& t) { fp8_quantize(c, t[0], t[1], t[2], t[3], t[4]); }};
  });
  if (ctx.on_gpu()) return cuda::fp8_quantize(ctx, q, qt, scale, x, largest);
  cpu::fp8_quantize(ctx, q, qt, scale, x, largest);
}

void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate, Fp8Sums sums) {
  RLCPP_CHECK(a.rank() == 2 && b.rank() == 2 && is_fp8(a, {a.dim(0), b.dim(1)}) &&
              is_fp8(b, {b.dim(0), a.dim(1)}) && a.dim(1) % kFp8Step == 0);
  RLCPP_CHECK(is_scale(ctx, scale_a) && is_scale(ctx, scale_b));
  const bool compute = is_compute(ctx, out, {a.dim(0), b.dim(0)});
  RLCPP_CHECK(is_f32(out, {a.dim(0), b.dim(0)}) || (compute && !accumulate));
  RLCPP_CHECK(bias.empty() || (compute && is_compute(ctx, bias, {b.dim(0)})));
  const LoggedCall logged(ctx, [&] {
    return Call{accumulate ? "fp8_product (+=)" : "fp8_product",
                {a.dim(0), b.dim(0), a.dim(1)},
                {out, a, scale_a, b, scale_b, bias},
                product_flops(a.dim(0), b.dim(0), a.dim(1)),
                bytes_of({out, accumulate ? out : Tensor(), a, b, bias}),
                [=](const Context& c, const Call::Operands& t) {
                  fp8_product(c, t[0], t[1], t[2], t[3], t[4], t[5], accumulate, sums);
                }};
  });
  if (ctx.on_gpu()) return cuda::fp8_product(ctx, out, a, scale_a, b, scale_b, bias, accumulate, sums);
  cpu::fp8_product(ctx, out, a, scale_a, b, scale_b, bias, accumulate);
}

}  // namespace rlcpp::ops
