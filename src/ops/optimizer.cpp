#include "ops/optimizer.h"

#include "ops/calls.h"
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
  const LoggedCall logged(ctx, [&] {
    Call call{
        "sum_of_squares", {0}, {all.begin(), all.end()}, 0, 0, [](const Context& c, const Call::Operands& t) {
          (void)sum_of_squares(c, t);
        }};
    for (const Tensor& g : all) {
      call.shape[0] += g.size();
      call.bytes += bytes_of({g});
    }
    return call;
  });
  if (ctx.on_gpu()) return cuda::sum_of_squares(ctx, all);
  return cpu::sum_of_squares(ctx, all);
}

void scale(const Context& ctx, const Tensor& g, float factor) {
  RLCPP_CHECK(is_flat_f32(g));
  const LoggedCall logged(ctx, [&] {
    return Call{"scale",
                {g.size()},
                {g},
                0,
                bytes_of({g, g}),
                [=](const Context& c, const Call::Operands& t) { scale(c, t[0], factor); }};
  });
  if (ctx.on_gpu()) return cuda::scale(ctx, g, factor);
  cpu::scale(ctx, g, factor);
}

void add(const Context& ctx, const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(is_flat_f32(to) && is_flat_f32(from) && to.size() == from.size());
  const LoggedCall logged(ctx, [&] {
    return Call{"add",
                {to.size()},
                {to, from},
                0,
                bytes_of({to, to, from}),
                [=](const Context& c, const Call::Operands& t) { add(c, t[0], t[1]); }};
  });
  if (ctx.on_gpu()) return cuda::add(ctx, to, from);
  cpu::add(ctx, to, from);
}

bool all_finite(const Context& ctx, const Tensor& g) {
  RLCPP_CHECK(is_flat_f32(g));
  const LoggedCall logged(ctx, [&] {
    return Call{"all_finite",  {g.size()},
                {g},           0,
                bytes_of({g}), [=](const Context& c, const Call::Operands& t) { (void)all_finite(c, t[0]); }};
  });
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
  const LoggedCall logged(ctx, [&] {
    return Call{
        "adamw",
        {w.size()},
        {w, m, v, g, working},
        0,
        bytes_of({w, w, m, m, v, v, g, working}),
        [=](const Context& c, const Call::Operands& t) { adamw(c, t[0], t[1], t[2], t[3], step, t[4]); }};
  });
  if (ctx.on_gpu()) return cuda::adamw(ctx, w, m, v, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::adamw(ctx, w, m, v, g, step);
}

void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step,
         const Tensor& working) {
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(g) && g.size() == w.size());
  RLCPP_CHECK(m.empty() ? step.momentum == 0 || w.size() == 0 : is_flat_f32(m) && m.size() == w.size());
  RLCPP_CHECK(working.empty() || (is_flat(working, ctx.compute_type()) && working.size() == w.size()));
  const LoggedCall logged(ctx, [&] {
    return Call{"sgd",
                {w.size()},
                {w, m, g, working},
                0,
                bytes_of({w, w, m, m, g, working}),
                [=](const Context& c, const Call::Operands& t) { sgd(c, t[0], t[1], t[2], step, t[3]); }};
  });
  if (ctx.on_gpu()) return cuda::sgd(ctx, w, m, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::sgd(ctx, w, m, g, step);
}

void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step,
              const Tensor& working) {
  RLCPP_CHECK(is_flat_f32(w) && is_flat_f32(g) && g.size() == w.size());
  RLCPP_CHECK(working.empty() || (is_flat(working, ctx.compute_type()) && working.size() == w.size()));
  const LoggedCall logged(ctx, [&] {
    return Call{"sign_sgd",
                {w.size()},
                {w, g, working},
                0,
                bytes_of({w, w, g, working}),
                [=](const Context& c, const Call::Operands& t) { sign_sgd(c, t[0], t[1], step, t[2]); }};
  });
  if (ctx.on_gpu()) return cuda::sign_sgd(ctx, w, g, step, working);
  RLCPP_CHECK(working.empty());
  cpu::sign_sgd(ctx, w, g, step);
}

}  // namespace rlcpp::ops
