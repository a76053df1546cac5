#include "orchestrator/algo/advantage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "data_path.h"
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
  ASSERT_EQ(algorithms().size(), 9U);
  EXPECT_EQ(algorithms()[0].name, "grpo");
  EXPECT_THROW(algorithm("nonsense"), Error);
}

// Every algorithm, groups and the step, as tools/oracle_algorithms.py has them.
TEST(Advantage, EqualTheOracle) {
  std::ifstream file(rlcpp::test::data_path("orchestrator/advantages.json"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["rows"].size(), 40U);
  for (const auto& row : golden["rows"]) {
    std::vector<std::vector<Outcome>> groups;
    for (const auto& group : row["groups"]) {
      groups.emplace_back();
      for (const auto& o : group)
        groups.back().push_back({o["reward"], o["length"], o["agent"], o["episode"]});
    }
    ASSERT_EQ(row["expected"].size(), algorithms().size());
    for (const Algorithm& one : algorithms()) {
      std::vector<std::vector<double>> values;
      for (const auto& group : groups) values.push_back(one.advantages(group));
      if (one.batch != nullptr) one.batch(groups, values);
      const auto expected = row["expected"][one.name].get<std::vector<std::vector<double>>>();
      ASSERT_EQ(values.size(), expected.size());
      for (std::size_t g = 0; g < values.size(); ++g) {
        ASSERT_EQ(values[g].size(), expected[g].size());
        for (std::size_t i = 0; i < values[g].size(); ++i)
          EXPECT_NEAR(values[g][i], expected[g][i], 1e-8 * (1 + std::abs(expected[g][i]))) << one.name;
      }
    }
  }
}

TEST(Advantage, NormalisedOverTokensIsWhatItSays) {
  Rng rng(rlcpp::test::fresh_seed());
  std::vector<std::vector<Outcome>> groups(5);
  std::vector<std::vector<double>> values;
  for (auto& group : groups) {
    for (int i = 0; i < 7; ++i)
      group.push_back({rng.uniform_double(), static_cast<std::int64_t>(1 + rng.below(40))});
    values.push_back(raw_reward(group));
  }
  normalise_over_tokens(groups, values);
  double sum = 0, squares = 0, tokens = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t i = 0; i < groups[g].size(); ++i) {
      const auto length = static_cast<double>(groups[g][i].length);
      sum += length * values[g][i];
      squares += length * values[g][i] * values[g][i];
      tokens += length;
    }
  }
  EXPECT_NEAR(sum / tokens, 0, 1e-12);
  EXPECT_NEAR(squares / tokens, 1, 1e-9);
}

}  // namespace
}  // namespace rlcpp::orchestrator
