#include "ops/swiglu.h"

#include <fmt/format.h>

#include "ops/ops_support.h"
#include "ops/reference/matmul.h"
#include "ops/reference/swiglu.h"

namespace rlcpp::test {
namespace {

using Swiglu = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Swiglu, every_device(), device_name);

Floats forward(const ops::Context& ctx, Floats& gate_up, std::int64_t m, std::int64_t inner) {
  Floats y = poisoned(m * inner);
  ops::swiglu_forward(ctx, on(ctx, y, {m, inner}), on(ctx, gate_up, {m, 2 * inner}));
  return y;
}

Floats backward(const ops::Context& ctx, Floats& dy, Floats& gate_up, std::int64_t m, std::int64_t inner) {
  Floats d = poisoned(m * 2 * inner);
  ops::swiglu_backward(ctx, on(ctx, d, {m, 2 * inner}), on(ctx, dy, {m, inner}),
                       on(ctx, gate_up, {m, 2 * inner}));
  return d;
}

TEST_P(Swiglu, AgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const auto& [m, inner] : {std::pair<std::int64_t, std::int64_t>{1, 1},
                                 {5, 17},
                                 {33, 64},
                                 {7, 3072},
                                 {random.between(1, 90), random.between(1, 200)}}) {
    Floats gate_up = random.normal(m * 2 * inner, 4.0F);
    Floats dy = random.normal(m * inner);
    expect_close(forward(ctx, gate_up, m, inner),
                 ops::reference::swiglu_forward(to_double(gate_up), m, inner), tolerance(ctx, 1e-6), "y");
    const Floats d = backward(ctx, dy, gate_up, m, inner);
    expect_close(d, ops::reference::swiglu_backward(to_double(dy), to_double(gate_up), m, inner),
                 tolerance(ctx, 1e-6), "gradient");
    // In place over gate_up.
    Floats in_place = gate_up;
    {
      const Mirror same = on(ctx, in_place, {m, 2 * inner});
      ops::swiglu_backward(ctx, same, on(ctx, dy, {m, inner}), same);
    }
    expect_same_bits(in_place, d, "in place");
    if (HasFatalFailure()) return;
  }
}

// The product and SwiGLU in one call against float64: with and without an adapter and a bias, in sizes of a
// GPU's one kernel (several tiles, the last rows outside) and in others. The gradient's gate and up are those
// of `keep`.
TEST_P(Swiglu, BehindItsProduct) {
  const ops::Context ctx = context();
  Random random(ctx);
  struct Sizes {
    std::int64_t m, inner, k, r;
  };
  const auto sum = [](Doubles left, const Doubles& right) {
    for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
    return left;
  };
  for (const Sizes& s :
       {Sizes{random.between(257, 400), 384, 72, 0}, Sizes{random.between(130, 300), 256, 200, 32},
        Sizes{1, 128, 8, 8}, Sizes{70, 100, 64, 16}, Sizes{33, 17, 5, 0}}) {
    Floats x = random.normal(s.m * s.k), w = random.normal(2 * s.inner * s.k, 0.2F),
           h = random.normal(s.m * s.r);
    Floats b = random.normal(2 * s.inner * s.r, 0.2F), bias = random.normal(2 * s.inner);
    for (const bool biased : {false, true}) {
      Doubles gate_up64 = ops::reference::linear_forward(
          to_double(x), to_double(w), biased ? to_double(bias) : Doubles(), s.m, 2 * s.inner, s.k);
      if (s.r > 0) {
        gate_up64 = sum(
            gate_up64, ops::reference::linear_forward(to_double(h), to_double(b), {}, s.m, 2 * s.inner, s.r));
      }
      const std::string what =
          fmt::format("m {} inner {} k {} r {}{}", s.m, s.inner, s.k, s.r, biased ? " biased" : "");
      Floats of_keep;
      for (const bool keep : {true, false}) {
        Floats y = poisoned(s.m * s.inner), gate_up = poisoned(s.m * 2 * s.inner);
        ops::linear_swiglu_forward(ctx, on(ctx, y, {s.m, s.inner}), on(ctx, gate_up, {s.m, 2 * s.inner}),
                                   keep, on(ctx, x, {s.m, s.k}), on(ctx, w, {2 * s.inner, s.k}), {},
                                   biased ? on(ctx, bias, {2 * s.inner}).tensor() : Tensor(),
                                   s.r > 0 ? on(ctx, h, {s.m, s.r}).tensor() : Tensor(),
                                   s.r > 0 ? on(ctx, b, {2 * s.inner, s.r}).tensor() : Tensor());
        if (keep) {
          expect_close(gate_up, gate_up64, tolerance(ctx, 4e-6, kHalfUlpBf16), what + ": gate_up");
          // Of the rounded values, as a call of its own has them.
          expect_same_bits(y, forward(ctx, gate_up, s.m, s.inner), what + ": apart");
          of_keep = y;
        } else {
          expect_same_bits(y, of_keep, what + ": not kept");
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Swiglu, LargeGatesStayFinite) {
  const ops::Context ctx = context();
  Floats gate_up = {-200.0F, -90.0F, 90.0F, 200.0F, 1.0F, 1.0F, 1.0F, 1.0F};
  const Floats y = forward(ctx, gate_up, 1, 4);
  expect_close(y, {0, 0, 90, 200}, tolerance(ctx, 1e-7), "y");
  Floats dy(4, 1.0F);
  expect_close(backward(ctx, dy, gate_up, 1, 4), {0, 0, 1, 1, 0, 0, 90, 200}, tolerance(ctx, 1e-7),
               "gradient");
}

TEST(SwigluReference, BackwardAgreesWithFiniteDifferences) {
  Random random;
  const Doubles x = to_double(random.normal(4 * 10));
  const Doubles dy = to_double(random.normal(4 * 5));
  expect_gradient([&](const Doubles& v) { return weighted_sum(ops::reference::swiglu_forward(v, 4, 5), dy); },
                  x, ops::reference::swiglu_backward(dy, x, 4, 5), random, "gate_up");
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Swiglu, SameBits) {
  const ops::Context device = context();
  Random random(device);
  const std::int64_t m = 61;
  const std::int64_t inner = 301;
  Floats gate_up = random.normal(m * 2 * inner, 10.0F);
  Floats dy = random.normal(m * inner);
  same_bits_again(
      device,
      [&](const ops::Context& ctx) {
        Floats all = forward(ctx, gate_up, m, inner);
        append(all, backward(ctx, dy, gate_up, m, inner));
        return all;
      },
      "swiglu");
}

TEST_P(Swiglu, NoRows) {
  const ops::Context ctx = context();
  Floats y(3), gate_up(6);
  ops::swiglu_forward(ctx, on(ctx, y, {0, 3}), on(ctx, gate_up, {0, 6}));
  const Mirror same = on(ctx, gate_up, {0, 6});
  ops::swiglu_backward(ctx, same, on(ctx, y, {0, 3}), same);
}

}  // namespace
}  // namespace rlcpp::test
