#include "ops/norm.h"

#include <algorithm>

#include "ops/ops_support.h"
#include "ops/reference/norm.h"

namespace rlcpp::test {
namespace {

using Norm = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Norm, every_device(), device_name);

constexpr float kEps = 1e-6F;

struct Shape {
  std::int64_t m, h;
};
// Odd sizes, sizes of models, and rows wider than a block of threads.
std::vector<Shape> shapes(Random& random) {
  return {{1, 1},     {3, 7},     {2, 64},    {65, 128},  {129, 33},
          {64, 1000}, {70, 1024}, {17, 2560}, {3, 12289}, {random.between(1, 200), random.between(1, 300)}};
}

struct Forward {
  Floats y, rstd, residual;
};
Forward forward(const ops::Context& ctx, const Shape& s, Floats& x, Floats& w, const Floats* residual) {
  Forward f = {poisoned(s.m * s.h), poisoned(s.m), residual != nullptr ? *residual : Floats()};
  if (residual != nullptr) {
    ops::add_rmsnorm_forward(ctx, on(ctx, f.y, {s.m, s.h}), f32(ctx, f.rstd, {s.m}),
                             on(ctx, f.residual, {s.m, s.h}), on(ctx, x, {s.m, s.h}), on(ctx, w, {s.h}),
                             kEps);
  } else {
    ops::rmsnorm_forward(ctx, on(ctx, f.y, {s.m, s.h}), f32(ctx, f.rstd, {s.m}), on(ctx, x, {s.m, s.h}),
                         on(ctx, w, {s.h}), kEps);
  }
  return f;
}

// dx is overwritten or added to; dw may be null.
void backward(const ops::Context& ctx, const Shape& s, Floats& dx, Floats* dw, Floats& dy, Floats& x,
              Floats& w, Floats& rstd, bool accumulate_dx) {
  ops::rmsnorm_backward(ctx, on(ctx, dx, {s.m, s.h}), f32(ctx, dw, {s.h}), on(ctx, dy, {s.m, s.h}),
                        on(ctx, x, {s.m, s.h}), on(ctx, w, {s.h}), f32(ctx, rstd, {s.m}), accumulate_dx);
}

Doubles rstd_of(const Floats& x, const Shape& s) {
  Doubles rstd;
  for (std::int64_t r = 0; r < s.m; ++r) {
    double sum = 0;
    for (std::int64_t i = 0; i < s.h; ++i) sum += static_cast<double>(x[r * s.h + i]) * x[r * s.h + i];
    rstd.push_back(1 / std::sqrt(sum / static_cast<double>(s.h) + kEps));
  }
  return rstd;
}

TEST_P(Norm, ForwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const Shape& s : shapes(random)) {
    Floats x = random.normal(s.m * s.h, 3.0F);
    Floats w = random.gains(s.h);
    const Floats residual = random.normal(s.m * s.h);
    const Forward plain = forward(ctx, s, x, w, nullptr);
    expect_close(plain.y, ops::reference::rmsnorm_forward(to_double(x), to_double(w), s.m, s.h, kEps),
                 tolerance(ctx, 1e-6), "y");
    expect_close(plain.rstd, rstd_of(x, s), tolerance_f32(ctx, 1e-6), "rstd");
    const Forward joined = forward(ctx, s, x, w, &residual);
    Floats sum = residual;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += x[i];
    sum = rounded(ctx, sum);
    expect_same_bits(joined.residual, sum, "residual");
    // The join is the bits of an addition followed by the norm.
    const Forward apart = forward(ctx, s, sum, w, nullptr);
    expect_same_bits(joined.y, apart.y, "y of the join");
    expect_same_bits(joined.rstd, apart.rstd, "rstd of the join");
    if (HasFatalFailure()) return;
  }
}

TEST(NormReference, BackwardAgreesWithFiniteDifferences) {
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

TEST_P(Norm, BackwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
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
    backward(ctx, s, dx, &dw, dy, x, w, f.rstd, false);
    // rstd scales what cancels in dx: for one element of size 0.01, dx is 1e-4 of its parts, which are 100
    // times dy.
    const double largest_rstd = *std::max_element(f.rstd.begin(), f.rstd.end());
    const Tolerance close = tolerance(ctx, 2e-6 * std::max(1.0, largest_rstd));
    expect_close(dx, expected.dx, close, "dx");
    expect_close(dw, dw_expected, tolerance_f32(ctx, 4e-6), "dw");
    // Accumulating adds to what is there, and a frozen weight changes nothing else: on the CPU the same bits
    // as adding afterwards, on CUDA with one rounding instead of two.
    const Floats old = random.normal(s.m * s.h);
    Floats sum = old;
    Doubles sum_expected = to_double(old);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] += dx[i];
      sum_expected[i] += expected.dx[i];
    }
    Floats accumulated = old;
    backward(ctx, s, accumulated, nullptr, dy, x, w, f.rstd, true);
    expect_close(accumulated, sum_expected, close, "accumulated dx");
    if (!ctx.on_gpu()) expect_same_bits(accumulated, sum, "accumulated dx");
    if (HasFatalFailure()) return;
  }
}

TEST(NormExact, ARowDoesNotDependOnTheBatch) {
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

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Norm, SameBits) {
  const ops::Context device = context();
  Random random(device);
  for (const Shape& s : {Shape{1, 3}, Shape{301, 130}, Shape{700, 640}}) {
    Floats x = random.normal(s.m * s.h);
    Floats w = random.gains(s.h);
    Floats dy = random.normal(s.m * s.h);
    const Floats residual = random.normal(s.m * s.h);
    same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          Forward f = forward(ctx, s, x, w, &residual);
          Floats dx = poisoned(s.m * s.h);
          Floats dw(s.h, 0.5F);
          backward(ctx, s, dx, &dw, dy, f.residual, w, f.rstd, false);
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

TEST_P(Norm, NoRows) {
  const ops::Context ctx = context();
  Floats x(5), y(5), w(5, 1.0F), rstd(1), dw(5, 0.5F);
  const Shape s = {0, 5};
  ops::rmsnorm_forward(ctx, on(ctx, y, {0, 5}), f32(ctx, rstd, {0}), on(ctx, x, {0, 5}), on(ctx, w, {5}),
                       kEps);
  backward(ctx, s, x, &dw, y, x, w, rstd, false);
  expect_same_bits(dw, Floats(5, 0.5F), "dw");
}

}  // namespace
}  // namespace rlcpp::test
