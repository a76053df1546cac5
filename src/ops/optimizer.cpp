#include "ops/optimizer.h"

#include "ops/checks.h"
#include "ops/cpu/optimizer.h"
#include "ops/cuda/optimizer.h"

namespace rlcpp::ops {
namespace {

bool is_flat(const Tensor& t, DType type) {
  return t.dtype() == type && (t.size() == 0 || !t.empty());
}
bool is_flat_f32(const Tensor& t) {
  return is_flat(t, DType::kF32);
}

}  // namespace

double sum_of_squares(const Context& ctx, std::span<const Tensor> all) {
  for (const Tensor& g : all) RLCPP_CHECK(is_flat_f32(g));
  if (ctx.on_gpu()) return cuda::sum_of_squares(ctx, all);
  return cpu::sum_of_squares(ctx, all);
}

void scale(const Context& ctx, const Tensor& g, float factor) {
  RLCPP_CHECK(is_flat_f32(g));
  if (ctx.on_gpu()) return cuda::scale(ctx, g, factor);
  cpu::scale(ctx, g, factor);
}

void add(const Context& ctx, const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(is_flat_f32(to) && is_flat_f32(from) && to.size() == from.size());
  if (ctx.on_gpu()) return cuda::add(ctx, to, from);
  cpu::add(ctx, to, from);
}

bool all_finite(const Context& ctx, const Tensor& g) {
  RLCPP_CHECK(is_flat_f32(g));
  if (ctx.on_gpu()) return cuda::all_finite(ctx, g);
  return cpu::all_finite(ctx, g);
}

void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step, const Tensor& working) {
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(g) && m.dtype() == v.dtype());
  RLCPP_CHECK(is_flat_f32(m) || (ctx.on_gpu() && is_flat(m, DType::kBF16)));
  RLCPP_CHECK(working.empty() || (is_flat(working, ctx.compute_type()) && working.size() == w.size()));
  RLCPP_CHECK(m.size() == w.size() && v.size() == w.size() && g.size() == w.size());
  RLCPP_CHECK(step.step >= 1 && step.first_element >= 0 && step.first_element % 4 == 0);
  if (ctx.on_gpu()) return cuda::adamw(ctx, w, m, v, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::adamw(ctx, w, m, v, g, step);
}

void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step,
         const Tensor& working) {
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(g) && g.size() == w.size());
  RLCPP_CHECK(m.empty() ? step.momentum == 0 || w.size() == 0 : is_flat_f32(m) && m.size() == w.size());
  RLCPP_CHECK(working.empty() || (is_flat(working, ctx.compute_type()) && working.size() == w.size()));
  if (ctx.on_gpu()) return cuda::sgd(ctx, w, m, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::sgd(ctx, w, m, g, step);
}

void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step,
              const Tensor& working) {
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(g) && g.size() == w.size());
  RLCPP_CHECK(working.empty() || (is_flat(working, ctx.compute_type()) && working.size() == w.size()));
  if (ctx.on_gpu()) return cuda::sign_sgd(ctx, w, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::sign_sgd(ctx, w, g, step);
}

}  // namespace rlcpp::ops
