#include "bench/statistics.h"

#include <cmath>
#include <random>

#include "support.h"

namespace rlcpp::bench {
namespace {

TEST(Statistics, SummaryOfKnownNumbers) {
  const Summary s = summarise({2, 4, 4, 4, 5, 5, 7, 9});
  EXPECT_DOUBLE_EQ(s.mean, 5);
  EXPECT_NEAR(s.std, std::sqrt(32.0 / 7.0), 1e-12);  // sample deviation: n - 1
  EXPECT_EQ(s.min, 2);
  EXPECT_EQ(s.max, 9);
}

TEST(Statistics, FewValues) {
  EXPECT_EQ(summarise({}).mean, 0);
  EXPECT_EQ(summarise({3}).std, 0);
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(Statistics, QuantilesLieBetweenTheirNeighbours) {
  std::mt19937_64 random(test::fresh_seed());
  std::vector<double> values(101);
  for (double& v : values) v = std::uniform_real_distribution<>(-5, 5)(random);
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (int i = 0; i <= 100; ++i)
    EXPECT_NEAR(quantile(values, i / 100.0), sorted[static_cast<std::size_t>(i)], 1e-9);
}

}  // namespace
}  // namespace rlcpp::bench
