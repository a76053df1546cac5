#include "orchestrator/algo/advantage.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

TEST(Advantage, GrpoSubtractsTheMean) {
  const std::vector<Outcome> group = {{1.0, 5}, {0.0, 9}, {0.5, 2}, {0.5, 4}};
  EXPECT_EQ(grpo(group), (std::vector<double>{0.5, -0.5, 0.0, 0.0}));
  EXPECT_EQ(grpo(std::vector<Outcome>{{0.7, 3}}), std::vector<double>{0.0});
}

TEST(Advantage, LengthWeightedMeanWeighsByTokens) {
  const std::vector<Outcome> group = {{1.0, 1}, {0.0, 3}};
  EXPECT_EQ(length_weighted_mean(group), (std::vector<double>{0.75, -0.25}));
  const std::vector<Outcome> empty = {{1.0, 0}, {0.0, 0}};
  EXPECT_EQ(length_weighted_mean(empty), (std::vector<double>{0.5, -0.5}));
}

TEST(Advantage, RawIsTheReward) {
  EXPECT_EQ(raw_reward(std::vector<Outcome>{{1.5, 1}, {-2.0, 3}}), (std::vector<double>{1.5, -2.0}));
}

TEST(Advantage, WhatTheyBalance) {
  Rng rng(rlcpp::test::fresh_seed());
  for (int round = 0; round < 100; ++round) {
    std::vector<Outcome> group;
    for (std::uint64_t i = 1 + rng.below(20); i > 0; --i)
      group.push_back({rng.uniform_double(), static_cast<std::int64_t>(1 + rng.below(50))});
    double plain = 0, weighted = 0;
    for (const double a : grpo(group)) plain += a;
    const std::vector<double> values = length_weighted_mean(group);
    for (std::size_t i = 0; i < group.size(); ++i)
      weighted += values[i] * static_cast<double>(group[i].length);
    EXPECT_NEAR(plain, 0, 1e-12);
    EXPECT_NEAR(weighted, 0, 1e-10);
  }
}

TEST(Advantage, RegistryNamesAll) {
  ASSERT_EQ(algorithms().size(), 3U);
  EXPECT_EQ(algorithms()[0].name, "grpo");
}

}  // namespace
}  // namespace rlcpp::orchestrator
