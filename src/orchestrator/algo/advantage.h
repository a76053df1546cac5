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
  // Where several agents act: which one, and in which of the group's episodes. Environments with one agent
  // leave both at 0.
  std::int64_t agent = 0, episode = 0;
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

// A = r - mean of the others' r (Ahmadian et al. 2024, "Back to Basics", RLOO); alone, 0.
std::vector<double> rloo(std::span<const Outcome> group);
// A = (r - mean(r)) / mean(r), all 0 if the mean is not positive: the gradient of log of the success rate
// instead of the rate (arXiv 2602.02710), for rewards that are not negative.
std::vector<double> max_rl(std::span<const Outcome> group);
// A = r - mean of its comparison set, alone in it 0 (prime-rl orchestrator/algo/hierarchical_grpo.py, 2026):
// agent 0, of which every episode has several attempts, is compared within its episode, any other agent
// across the group. With one agent and one episode it is grpo.
std::vector<double> hierarchical_grpo(std::span<const Outcome> group);

// grpo; what environments say is trained besides (echo.h).
std::vector<double> echo(std::span<const Outcome> group);

// What is done to the advantages of all groups of a step together, in place.
using BatchFunction = void (*)(std::span<const std::vector<Outcome>> groups,
                               std::span<std::vector<double>> advantages);

// A = (A - mean) / sqrt(max(variance, 1e-8)), mean and variance over the completion tokens of the step, each
// with its rollout's A (Hu et al. 2025, "REINFORCE++", arXiv 2501.03262, sections 3.2 and 3.3).
void normalise_over_tokens(std::span<const std::vector<Outcome>> groups,
                           std::span<std::vector<double>> advantages);

struct Algorithm {
  std::string name;
  std::string summary;  // for --help
  AdvantageFunction advantages;
  BatchFunction batch = nullptr;  // after all groups
  bool compares = true;           // a group of one has nothing to learn from
  bool trains_replies = false;    // what environments say is trained as text
};
const std::vector<Algorithm>& algorithms();
// Throws bad_input for a name that is not one of them.
const Algorithm& algorithm(const std::string& name);

}  // namespace rlcpp::orchestrator
