// The exponential of the kernels: error against float64, special values, and equal bits for every instruction
// set.
#include "ops/ops_support.h"

namespace rlcpp::test {
namespace {

double error_in_ulps(float actual, double expected) {
  const auto rounded = static_cast<float>(expected);
  if (std::isinf(rounded) || std::isinf(actual)) return rounded == actual ? 0 : INFINITY;
  const double ulp = static_cast<double>(std::nextafter(std::abs(rounded), INFINITY)) -
                     static_cast<double>(std::abs(rounded));
  return std::abs(static_cast<double>(actual) - expected) / ulp;
}

TEST(Math, ExponentialIsAccurate) {
  Random random;
  Floats x;
  for (int i = 0; i < 400000; ++i) x.push_back(-104.0F + 193.0F * random.uniform());
  for (int i = 0; i < 100000; ++i) x.push_back(2 * random.uniform() - 1);
  for (int i = 0; i < 1000; ++i) x.push_back((random.uniform() - 0.5F) * 1e-6F);
  Floats y = poisoned(static_cast<std::int64_t>(x.size()));
  ops::cpu::best_kernels().exp_values(y.data(), x.data(), static_cast<std::int64_t>(x.size()));
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = error_in_ulps(y[i], std::exp(static_cast<double>(x[i])));
    ASSERT_LE(error, 1.25) << "exp(" << x[i] << ")";
    worst = std::max(worst, error);
  }
  RecordProperty("worst_ulp", std::to_string(worst));
}

TEST(Math, ExponentialOfSpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const Floats x = {0.0F,   -0.0F,  inf,    -inf,    std::numeric_limits<float>::quiet_NaN(),
                    88.72F, 88.73F, -87.4F, -103.9F, -105.0F,
                    1e30F,  -1e30F};
  Floats y = poisoned(static_cast<std::int64_t>(x.size()));
  ops::cpu::best_kernels().exp_values(y.data(), x.data(), static_cast<std::int64_t>(x.size()));
  EXPECT_EQ(y[0], 1.0F);
  EXPECT_EQ(y[1], 1.0F);
  EXPECT_EQ(y[2], inf);
  EXPECT_EQ(y[3], 0.0F);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_TRUE(std::isfinite(y[5]));
  EXPECT_EQ(y[6], inf);
  EXPECT_LE(error_in_ulps(y[7], std::exp(static_cast<double>(x[7]))), 1.0);  // subnormal
  EXPECT_LE(error_in_ulps(y[8], std::exp(static_cast<double>(x[8]))), 1.0);
  EXPECT_EQ(y[9], 0.0F);
  EXPECT_EQ(y[10], inf);
  EXPECT_EQ(y[11], 0.0F);
}

TEST(Math, ExponentialHasTheSameBitsWithAllSets) {
  Random random;
  for (const std::int64_t n : {1, 15, 16, 17, 63, 64, 65, 1000}) {
    Floats x;
    for (std::int64_t i = 0; i < n; ++i) x.push_back(-110.0F + 210.0F * random.uniform());
    same_bits_everywhere(
        [&](const ops::Context& ctx) {
          Floats y = poisoned(n);
          ctx.kernels->exp_values(y.data(), x.data(), n);
          return y;
        },
        "exp");
  }
}

TEST(Math, ThisMachineNamesItsSet) {
  EXPECT_EQ(ops::instruction_set(), ops::cpu::available_kernels().front()->name);
  EXPECT_STREQ(ops::cpu::available_kernels().back()->name, "portable");
}

}  // namespace
}  // namespace rlcpp::test
