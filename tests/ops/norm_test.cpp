#include "ops/norm.h"

#include <algorithm>

#include "ops/ops_support.h"
#include "ops/reference/norm.h"

namespace rlcpp::test {
namespace {

constexpr float kEps = 1e-6F;

struct Shape {
  std::int64_t m, h;
};
std::vector<Shape> shapes(Random& random) {
  return {{1, 1},
          {3, 7},
          {2, 64},
          {65, 128},
          {129, 33},
          {64, 1000},
          {random.between(1, 200), random.between(1, 300)}};
}

struct Forward {
  Floats y, rstd, residual;
};
Forward forward(const ops::Context& ctx, const Shape& s, Floats& x, Floats& w, const Floats* residual) {
  Forward f = {poisoned(s.m * s.h), poisoned(s.m), residual != nullptr ? *residual : Floats()};
  if (residual != nullptr) {
    ops::add_rmsnorm_forward(ctx, view(f.y, {s.m, s.h}), view(f.rstd, {s.m}), view(f.residual, {s.m, s.h}),
                             view(x, {s.m, s.h}), view(w, {s.h}), kEps);
  } else {
    ops::rmsnorm_forward(ctx, view(f.y, {s.m, s.h}), view(f.rstd, {s.m}), view(x, {s.m, s.h}), view(w, {s.h}),
                         kEps);
  }
  return f;
}

TEST(Norm, ForwardAgreesWithTheReference) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const Shape& s : shapes(random)) {
    Floats x = random.normal(s.m * s.h, 3.0F);
    Floats w = random.gains(s.h);
    const Floats residual = random.normal(s.m * s.h);
    const Forward plain = forward(ctx, s, x, w, nullptr);
    expect_close(plain.y, ops::reference::rmsnorm_forward(to_double(x), to_double(w), s.m, s.h, kEps), 1e-6,
                 "y");
    const Forward joined = forward(ctx, s, x, w, &residual);
    Floats sum = residual;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += x[i];
    expect_same_bits(joined.residual, sum, "residual");
    // The join is the bits of an addition followed by the norm.
    const Forward apart = forward(ctx, s, sum, w, nullptr);
    expect_same_bits(joined.y, apart.y, "y of the join");
    expect_same_bits(joined.rstd, apart.rstd, "rstd of the join");
    if (HasFatalFailure()) return;
  }
}

TEST(Norm, ReferenceBackwardAgreesWithFiniteDifferences) {
  Random random;
  const Shape s = {3, 9};
  const Doubles x = to_double(random.normal(s.m * s.h));
  const Doubles w = to_double(random.gains(s.h));
  const Doubles dy = to_double(random.normal(s.m * s.h));
  const auto g = ops::reference::rmsnorm_backward(dy, x, w, s.m, s.h, kEps);
  expect_gradient(
      [&](const Doubles& v) {
        return weighted_sum(ops::reference::rmsnorm_forward(v, w, s.m, s.h, kEps), dy);
      },
      x, g.dx, random, "x");
  expect_gradient(
      [&](const Doubles& v) {
        return weighted_sum(ops::reference::rmsnorm_forward(x, v, s.m, s.h, kEps), dy);
      },
      w, g.dw, random, "w");
}

TEST(Norm, BackwardAgreesWithTheReference) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const Shape& s : shapes(random)) {
    Floats x = random.normal(s.m * s.h, 2.0F);
    Floats w = random.gains(s.h);
    Floats dy = random.normal(s.m * s.h);
    Forward f = forward(ctx, s, x, w, nullptr);
    const auto expected =
        ops::reference::rmsnorm_backward(to_double(dy), to_double(x), to_double(w), s.m, s.h, kEps);
    Floats dx = poisoned(s.m * s.h);
    Floats dw = random.normal(s.h);
    Doubles dw_expected = to_double(dw);
    for (std::size_t i = 0; i < dw.size(); ++i) dw_expected[i] += expected.dw[i];
    ops::rmsnorm_backward(ctx, view(dx, {s.m, s.h}), view(dw, {s.h}), view(dy, {s.m, s.h}),
                          view(x, {s.m, s.h}), view(w, {s.h}), view(f.rstd, {s.m}), false);
    // rstd scales what cancels in dx: for one element of size 0.01, dx is 1e-4 of its parts, which are 100
    // times dy.
    const double largest_rstd = *std::max_element(f.rstd.begin(), f.rstd.end());
    expect_close(dx, expected.dx, 2e-6 * std::max(1.0, largest_rstd), "dx");
    expect_close(dw, dw_expected, 4e-6, "dw");
    // Accumulating adds the same bits to what is there; a frozen weight changes nothing else.
    const Floats old = random.normal(s.m * s.h);
    Floats sum = old;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += dx[i];
    Floats accumulated = old;
    ops::rmsnorm_backward(ctx, view(accumulated, {s.m, s.h}), Tensor(), view(dy, {s.m, s.h}),
                          view(x, {s.m, s.h}), view(w, {s.h}), view(f.rstd, {s.m}), true);
    expect_same_bits(accumulated, sum, "accumulated dx");
    if (HasFatalFailure()) return;
  }
}

TEST(Norm, ARowDoesNotDependOnTheBatch) {
  Random random;
  const ops::Context ctx = cpu_context();
  const Shape s = {150, 77};
  Floats x = random.normal(s.m * s.h);
  Floats w = random.gains(s.h);
  const Forward all = forward(ctx, s, x, w, nullptr);
  for (const std::int64_t row : {0, 63, 64, 149}) {
    Floats one(x.begin() + row * s.h, x.begin() + (row + 1) * s.h);
    expect_same_bits(forward(ctx, {1, s.h}, one, w, nullptr).y, std::span(all.y).subspan(row * s.h, s.h),
                     "row");
  }
}

TEST(Norm, SameBitsWithAllSetsAndThreads) {
  Random random;
  for (const Shape& s : {Shape{1, 3}, Shape{301, 130}, Shape{700, 640}}) {
    Floats x = random.normal(s.m * s.h);
    Floats w = random.gains(s.h);
    Floats dy = random.normal(s.m * s.h);
    const Floats residual = random.normal(s.m * s.h);
    same_bits_everywhere(
        [&](const ops::Context& ctx) {
          Forward f = forward(ctx, s, x, w, &residual);
          Floats dx = poisoned(s.m * s.h);
          Floats dw(s.h, 0.5F);
          ops::rmsnorm_backward(ctx, view(dx, {s.m, s.h}), view(dw, {s.h}), view(dy, {s.m, s.h}),
                                view(f.residual, {s.m, s.h}), view(w, {s.h}), view(f.rstd, {s.m}), false);
          Floats all = f.y;
          append(all, f.rstd);
          append(all, dx);
          append(all, dw);
          return all;
        },
        "norm");
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rlcpp::test
