#include "ops/optimizer.h"

#include "ops/checks.h"
#include "ops/cpu/optimizer.h"

namespace rlcpp::ops {
namespace {

bool is_flat_f32(const Tensor& t) {
  return t.dtype() == DType::kF32 && (t.size() == 0 || !t.empty());
}

}  // namespace

double sum_of_squares(const Context& ctx, const Tensor& g) {
  require_cpu(ctx, "sum_of_squares");
  RLCPP_CHECK(is_flat_f32(g));
  return cpu::sum_of_squares(ctx, g);
}

void scale(const Context& ctx, const Tensor& g, float factor) {
  require_cpu(ctx, "scale");
  RLCPP_CHECK(is_flat_f32(g));
  cpu::scale(ctx, g, factor);
}

bool all_finite(const Context& ctx, const Tensor& g) {
  require_cpu(ctx, "all_finite");
  RLCPP_CHECK(is_flat_f32(g));
  return cpu::all_finite(ctx, g);
}

void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step) {
  require_cpu(ctx, "adamw");
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(m) && is_flat_f32(v) && is_flat_f32(g));
  RLCPP_CHECK(m.size() == w.size() && v.size() == w.size() && g.size() == w.size());
  RLCPP_CHECK(step.step >= 1);
  cpu::adamw(ctx, w, m, v, g, step);
}

}  // namespace rlcpp::ops
