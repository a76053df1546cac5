#include "ops/head.h"

#include "ops/calls.h"
#include "ops/checks.h"
#include "ops/cpu/head.h"
#include "ops/cpu/matmul.h"
#include "ops/cuda/head.h"

namespace rlcpp::ops {
namespace {

void check_weight(const Context& ctx, const Tensor& w, const Tensor& packed, std::int64_t hidden_size) {
  RLCPP_CHECK(w.rank() == 2 && is_compute(ctx, w, {w.dim(0), hidden_size}));
  RLCPP_CHECK(packed.empty() || packed.size() == cpu::packed_weight_size(w.dim(0), w.dim(1)));
}

void check_inputs(const Context& ctx, const HeadInputs& in) {
  const std::int64_t rows = in.hidden.dim(0);
  RLCPP_CHECK(in.hidden.rank() == 2 && is_compute(ctx, in.hidden, {rows, in.hidden.dim(1)}));
  check_weight(ctx, in.w, in.packed, in.hidden.dim(1));
  RLCPP_CHECK(is_i32(in.targets, {rows}) && is_f32(in.temperatures, {rows}));
  RLCPP_CHECK(in.logits.rank() == 2 && in.logits.dim(0) > 0);
  RLCPP_CHECK(is_f32(in.logits, {in.logits.dim(0), in.w.dim(0)}));
  if (ctx.on_gpu()) return;
  for (const std::int32_t target : in.targets.i32_span()) RLCPP_CHECK(target >= -1 && target < in.w.dim(0));
}

void check_gradient(const Context& ctx, const Tensor& dhidden, const Tensor& dw, const Tensor& coefficients,
                    const HeadInputs& in) {
  const std::int64_t rows = in.hidden.dim(0);
  RLCPP_CHECK(is_compute(ctx, dhidden, {rows, in.hidden.dim(1)}) && is_f32(coefficients, {rows}));
  RLCPP_CHECK(empty_or_f32(dw, {in.w.dim(0), in.w.dim(1)}));
}

// One product with every row; the vocabulary's sums are not counted.
double visit_flops(const HeadInputs& in) {
  return product_flops(in.hidden.dim(0), in.w.dim(0), in.w.dim(1));
}

}  // namespace

void head_logits(const Context& ctx, const Tensor& logits, const Tensor& hidden, const Tensor& w,
                 const Tensor& packed, const Tensor& temperatures) {
  RLCPP_CHECK(hidden.rank() == 2 && is_compute(ctx, hidden, {hidden.dim(0), hidden.dim(1)}));
  check_weight(ctx, w, packed, hidden.dim(1));
  RLCPP_CHECK(is_f32(logits, {hidden.dim(0), w.dim(0)}) && empty_or_f32(temperatures, {hidden.dim(0)}));
  if (ctx.on_gpu()) return cuda::head_logits(ctx, logits, hidden, w, packed, temperatures);
  cpu::head_logits(ctx, logits, hidden, w, packed, temperatures);
}

void head_statistics(const Context& ctx, const Tensor& lse, const Tensor& entropy, const Tensor& logits) {
  RLCPP_CHECK(logits.rank() == 2 && logits.dtype() == DType::kF32 && logits.dim(1) > 0);
  RLCPP_CHECK(is_f32(lse, {logits.dim(0)}) && empty_or_f32(entropy, {logits.dim(0)}));
  if (ctx.on_gpu()) return cuda::head_statistics(ctx, lse, entropy, logits);
  cpu::head_statistics(ctx, lse, entropy, logits);
}

void head_logprobs(const Context& ctx, const Tensor& logprobs, const Tensor& entropies,
                   const HeadInputs& in) {
  check_inputs(ctx, in);
  RLCPP_CHECK(is_f32(logprobs, {in.hidden.dim(0)}) && empty_or_f32(entropies, {in.hidden.dim(0)}));
  const bool kept = in.kept;
  const LoggedCall logged(ctx, [&] {
    return Call{"head_logprobs",
                {in.hidden.dim(0), in.w.dim(0), in.w.dim(1)},
                {logprobs, entropies, in.hidden, in.w, in.packed, in.targets, in.temperatures, in.logits},
                visit_flops(in),
                bytes_of({logprobs, entropies, in.hidden, in.w}),
                [=](const Context& c, const Call::Operands& t) {
                  head_logprobs(c, t[0], t[1], {t[2], t[3], t[4], t[5], t[6], t[7], kept});
                }};
  });
  if (ctx.on_gpu()) return cuda::head_visit(ctx, {logprobs, entropies, Tensor(), Tensor(), Tensor()}, in);
  cpu::head_visit(ctx, {logprobs, entropies, Tensor(), Tensor(), Tensor()}, in);
}

void head_backward(const Context& ctx, const Tensor& dhidden, const Tensor& dw, const Tensor& coefficients,
                   const HeadInputs& in) {
  check_inputs(ctx, in);
  check_gradient(ctx, dhidden, dw, coefficients, in);
  const bool kept = in.kept;
  const LoggedCall logged(ctx, [&] {
    return Call{
        "head_backward",
        {in.hidden.dim(0), in.w.dim(0), in.w.dim(1)},
        {dhidden, dw, coefficients, in.hidden, in.w, in.packed, in.targets, in.temperatures, in.logits},
        (dw.empty() ? 1 : 2) * visit_flops(in),
        bytes_of({dhidden, dw, dw, coefficients, in.hidden, in.w}),
        [=](const Context& c, const Call::Operands& t) {
          head_backward(c, t[0], t[1], t[2], {t[3], t[4], t[5], t[6], t[7], t[8], kept});
        }};
  });
  if (ctx.on_gpu()) return cuda::head_visit(ctx, {Tensor(), Tensor(), coefficients, dhidden, dw}, in);
  cpu::head_visit(ctx, {Tensor(), Tensor(), coefficients, dhidden, dw}, in);
}

void head_fused(const Context& ctx, const Tensor& logprobs, const Tensor& entropies, const Tensor& dhidden,
                const Tensor& dw, const Tensor& coefficients, const HeadInputs& in) {
  check_inputs(ctx, in);
  check_gradient(ctx, dhidden, dw, coefficients, in);
  RLCPP_CHECK(is_f32(logprobs, {in.hidden.dim(0)}) && empty_or_f32(entropies, {in.hidden.dim(0)}));
  const bool kept = in.kept;
  const LoggedCall logged(ctx, [&] {
    return Call{"head_fused",
                {in.hidden.dim(0), in.w.dim(0), in.w.dim(1)},
                {logprobs, entropies, dhidden, dw, coefficients, in.hidden, in.w, in.packed, in.targets,
                 in.temperatures, in.logits},
                (dw.empty() ? 2 : 3) * visit_flops(in),
                bytes_of({logprobs, entropies, dhidden, dw, dw, coefficients, in.hidden, in.w}),
                [=](const Context& c, const Call::Operands& t) {
                  head_fused(c, t[0], t[1], t[2], t[3], t[4], {t[5], t[6], t[7], t[8], t[9], t[10], kept});
                }};
  });
  if (ctx.on_gpu()) return cuda::head_visit(ctx, {logprobs, entropies, coefficients, dhidden, dw}, in);
  cpu::head_visit(ctx, {logprobs, entropies, coefficients, dhidden, dw}, in);
}

void scale_rows(const Context& ctx, const Tensor& rows, const Tensor& factors) {
  RLCPP_CHECK(rows.rank() == 2 && is_compute(ctx, rows, {rows.dim(0), rows.dim(1)}));
  RLCPP_CHECK(is_f32(factors, {rows.dim(0)}));
  if (rows.size() == 0) return;
  const LoggedCall logged(ctx, [&] {
    return Call{"scale_rows",
                {rows.dim(0), rows.dim(1)},
                {rows, factors},
                0,
                bytes_of({rows, rows, factors}),
                [=](const Context& c, const Call::Operands& t) { scale_rows(c, t[0], t[1]); }};
  });
  if (ctx.on_gpu()) return cuda::scale_rows(ctx, rows, factors);
  cpu::scale_rows(ctx, rows, factors);
}

}  // namespace rlcpp::ops
