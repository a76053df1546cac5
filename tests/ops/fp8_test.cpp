// The reference knows e4m3 as a list of its numbers and looks for the nearest; products are sums in float64
// of the numbers behind the codes.
#include "ops/fp8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "ops/ops_support.h"

namespace rlcpp::test {
namespace {

using Fp8 = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Fp8, every_device(), device_name);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::array<double, 256>& numbers() {
  static const std::array<double, 256> all = [] {
    std::array<double, 256> list{};
    for (int code = 0; code < 256; ++code) {
      const int exponent = code % 128 / 8, fraction = code % 8;
      double size = exponent == 0 ? fraction / 512.0 : (8 + fraction) * std::pow(2.0, exponent - 10);
      if (code % 128 == 127) size = std::numeric_limits<double>::quiet_NaN();
      list[static_cast<std::size_t>(code)] = code < 128 ? size : -size;
    }
    return list;
  }();
  return all;
}

// The nearest number's code; of two, the even one. What is beyond the largest is it.
std::uint8_t nearest(double value) {
  std::size_t best = 0;
  double distance = kInfinity;
  for (std::size_t code = 0; code < 127; ++code) {
    const double d = std::fabs(numbers()[code] - std::fabs(value));
    if (d > distance || (d == distance && code % 2 == 1)) continue;
    best = code;
    distance = d;
  }
  return static_cast<std::uint8_t>(best + (std::signbit(value) ? 128 : 0));
}

struct Quantized {
  Bytes q, qt;
  float scale = 0;
};

Quantized quantize(const ops::Context& ctx, Floats& x, float largest, std::int64_t m, std::int64_t k,
                   bool plain, bool turned) {
  const std::int64_t padded = ops::fp8_padded(m);
  Quantized out{Bytes(plain ? static_cast<std::size_t>(m * k) : 0, 0xAB),
                Bytes(turned ? static_cast<std::size_t>(k * padded) : 0, 0xAB)};
  Floats scale = poisoned(1), most = {largest};
  {
    const Mirror q = u8(ctx, out.q, {plain ? m : 0, k}), qt = u8(ctx, out.qt, {turned ? k : 0, padded});
    ops::fp8_quantize(ctx, plain ? q.tensor() : Tensor(), turned ? qt.tensor() : Tensor(),
                      f32(ctx, scale, {1}), on(ctx, x, {m, k}), f32(ctx, most, {1}));
  }
  out.scale = scale[0];
  return out;
}

float largest_of(const ops::Context& ctx, Floats& x, float before, std::int64_t m, std::int64_t k) {
  Floats largest = {before};
  ops::fp8_largest(ctx, f32(ctx, largest, {1}), on(ctx, x, {m, k}));
  return largest[0];
}

TEST_P(Fp8, TheLargestIsTheLargest) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (int repeat = 0; repeat < 6; ++repeat) {
    const std::int64_t m = random.between(1, 700), k = 16 * random.between(1, 40);
    Floats x = random.normal(m * k, 3.0F);
    float most = 0;
    for (const float value : x) most = std::max(most, std::fabs(value));
    EXPECT_EQ(largest_of(ctx, x, 0, m, k), most);
    EXPECT_EQ(largest_of(ctx, x, 2 * most, m, k), 2 * most) << "what was larger before stays";
    x[static_cast<std::size_t>(random.between(0, m * k - 1))] = -4 * most;
    EXPECT_EQ(largest_of(ctx, x, 0, m, k), 4 * most);
    x[static_cast<std::size_t>(random.between(0, m * k - 1))] = -kInfinity;
    EXPECT_EQ(largest_of(ctx, x, 0, m, k), kInfinity);
    x[static_cast<std::size_t>(random.between(0, m * k - 1))] = std::nanf("");
    EXPECT_TRUE(std::isnan(largest_of(ctx, x, 0, m, k)));
  }
}

// Every finite bf16 as it is: a scale of one.
TEST_P(Fp8, EveryNumberGoesToTheNearest) {
  const ops::Context ctx = context();
  Floats x;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(bits));
    x.push_back(std::isfinite(value) ? value : 0.0F);
  }
  const Quantized out = quantize(ctx, x, ops::kFp8Largest, 0x1000, 16, true, false);
  EXPECT_EQ(out.scale, 1.0F);
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(static_cast<int>(out.q[i]), static_cast<int>(nearest(static_cast<double>(x[i])))) << x[i];
}

TEST_P(Fp8, CodesAsTheyLieAndTransposed) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const auto& [m, k] : {std::pair<std::int64_t, std::int64_t>{1, 16},
                             {128, 64},
                             {129, 80},
                             {random.between(2, 500), 16 * random.between(1, 30)},
                             {random.between(2, 500), 16 * random.between(1, 30)}}) {
    Floats x = random.normal(m * k, std::exp2(static_cast<float>(random.between(-20, 20))));
    const float largest = largest_of(ctx, x, 0, m, k), factor = ops::kFp8Largest / largest;
    const std::int64_t padded = ops::fp8_padded(m);
    const Quantized both = quantize(ctx, x, largest, m, k, true, true);
    EXPECT_EQ(both.scale, largest / ops::kFp8Largest);
    for (std::int64_t row = 0; row < padded; ++row) {
      for (std::int64_t i = 0; i < k; ++i) {
        const int turned = both.qt[static_cast<std::size_t>(i * padded + row)];
        if (row >= m) {
          ASSERT_EQ(turned, 0) << "behind the last row";
          continue;
        }
        const auto at = static_cast<std::size_t>(row * k + i);
        ASSERT_EQ(static_cast<int>(both.q[at]),
                  static_cast<int>(nearest(static_cast<double>(x[at] * factor))));
        ASSERT_EQ(turned, static_cast<int>(both.q[at])) << row << ", " << i;
      }
    }
    EXPECT_EQ(quantize(ctx, x, largest, m, k, true, false).q, both.q);
    EXPECT_EQ(quantize(ctx, x, largest, m, k, false, true).qt, both.qt);
  }
}

TEST_P(Fp8, ZerosStayAndWhatIsNotFiniteShows) {
  const ops::Context ctx = context();
  Floats zeros(16 * 16, 0.0F);
  const Quantized none = quantize(ctx, zeros, 0, 16, 16, true, true);
  EXPECT_GT(none.scale, 0.0F);
  EXPECT_EQ(none.q, Bytes(256, 0));
  EXPECT_EQ(none.qt, Bytes(256, 0));
  for (const float bad : {kInfinity, std::nanf("")}) {
    Quantized out = quantize(ctx, zeros, bad, 16, 16, true, true);
    EXPECT_FALSE(std::isfinite(out.scale));
    Floats y = poisoned(256), one = {1.0F}, scale = {out.scale};
    Bytes weights(256, 0x38);
    ops::fp8_product(ctx, f32(ctx, y, {16, 16}), u8(ctx, out.q, {16, 16}), f32(ctx, scale, {1}),
                     u8(ctx, weights, {16, 16}), f32(ctx, one, {1}), {}, false, ops::Fp8Sums::kQuick);
    EXPECT_FALSE(std::any_of(y.begin(), y.end(), [](float value) { return std::isfinite(value); })) << bad;
  }
}

// Random codes. The instruction keeps 13 bits behind the binary point of what is largest in a sum and drops
// the rest at each step, so a sum is off by a part of the sum of magnitudes; an output of bf16 is rounded
// once more.
TEST_P(Fp8, ProductsAreThoseOfTheNumbers) {
  const ops::Context ctx = context();
  Random random(ctx);
  const auto codes = [&](std::int64_t size) {
    Bytes out(static_cast<std::size_t>(size));
    for (std::uint8_t& code : out) {
      code = static_cast<std::uint8_t>(random.between(0, 255));
      if (code % 128 == 127) code = 0;
    }
    return out;
  };
  for (const auto sums : {ops::Fp8Sums::kQuick, ops::Fp8Sums::kCareful}) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      const std::int64_t m = random.between(1, 200), n = 16 * random.between(1, 20),
                         k = 16 * random.between(1, 40);
      Bytes a = codes(m * k), b = codes(n * k);
      Floats scale_a = {0.01F}, scale_b = {0.5F}, bias = random.normal(n), old = Random().normal(m * n);
      Floats plain = poisoned(m * n), biased = poisoned(m * n), whole = poisoned(m * n), added = old;
      const auto product = [&](const Tensor& out, const Tensor& with, bool accumulate) {
        ops::fp8_product(ctx, out, u8(ctx, a, {m, k}), f32(ctx, scale_a, {1}), u8(ctx, b, {n, k}),
                         f32(ctx, scale_b, {1}), with, accumulate, sums);
      };
      product(on(ctx, plain, {m, n}), {}, false);
      product(on(ctx, biased, {m, n}), on(ctx, bias, {n}), false);
      product(f32(ctx, whole, {m, n}), {}, false);
      product(f32(ctx, added, {m, n}), {}, true);
      for (std::int64_t row = 0; row < m; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
          double sum = 0, size = 0;
          for (std::int64_t i = 0; i < k; ++i) {
            const double each = numbers()[a[static_cast<std::size_t>(row * k + i)]] *
                                numbers()[b[static_cast<std::size_t>(column * k + i)]];
            sum += each;
            size += std::fabs(each);
          }
          const double scale = static_cast<double>(scale_a[0]) * static_cast<double>(scale_b[0]);
          sum *= scale;
          const auto at = static_cast<std::size_t>(row * n + column);
          const double near = scale * size * (ctx.on_gpu() ? 0x1p-9 : 0x1p-20),
                       half = ctx.on_gpu() ? 0x1p-8 : 0;
          const double with = sum + static_cast<double>(bias[static_cast<std::size_t>(column)]);
          ASSERT_NEAR(static_cast<double>(whole[at]), sum, near) << m << " " << n << " " << k;
          ASSERT_NEAR(static_cast<double>(plain[at]), sum, near + half * std::fabs(sum));
          ASSERT_NEAR(static_cast<double>(biased[at]), with, near + half * std::fabs(with) + 1e-6);
          ASSERT_NEAR(static_cast<double>(added[at]), sum + static_cast<double>(old[at]), near + 1e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
