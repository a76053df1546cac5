// Algorithms turn the rewards of a group into advantages. A new one: its own file with an AdvantageFunction,
// one line here and one in registry.cpp, and one test.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rlcpp::orchestrator {

struct Outcome {
  double reward = 0;
  std::int64_t length = 0;  // completion tokens
};

// One advantage a rollout of the group; every trained token of the rollout gets it.
using AdvantageFunction = std::vector<double> (*)(std::span<const Outcome> group);

// A = r - mean(r), without division by the standard deviation (prime-rl orchestrator/advantage.py, January
// 2026).
std::vector<double> grpo(std::span<const Outcome> group);
// A = r - sum(r l) / sum(l), l the completion length (Hao et al. 2025, "On-Policy RL with Optimal Reward
// Baseline"); of a group without any completion token, the plain mean.
std::vector<double> length_weighted_mean(std::span<const Outcome> group);
// A = r.
std::vector<double> raw_reward(std::span<const Outcome> group);

struct Algorithm {
  std::string name;
  AdvantageFunction advantages;
};
const std::vector<Algorithm>& algorithms();

}  // namespace rlcpp::orchestrator
