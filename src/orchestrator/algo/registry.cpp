#include <fmt/format.h>

#include "base/error.h"
#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

const std::vector<Algorithm>& algorithms() {
  static const std::vector<Algorithm> all = {
      {"grpo", "reward less the mean of its group", grpo},
      {"length_weighted_mean", "less the mean weighted by completion length", length_weighted_mean},
      {"rloo", "less the mean of the others of its group", rloo},
      {"max_rl", "grpo's divided by the group's mean reward", max_rl},
      {"reinforce++", "reward, normalised over the tokens of the step", raw_reward, normalise_over_tokens,
       false},
      {"reinforce++_baseline", "grpo's, normalised over the tokens of the step", grpo, normalise_over_tokens},
      {"hierarchical_grpo", "grpo within an agent's episodes", hierarchical_grpo},
      {"raw_reward", "the reward itself", raw_reward, nullptr, false},
      {"echo", "grpo's, and what environments say between turns is trained as text (roles)", echo, nullptr,
       true, true}};
  return all;
}

const Algorithm& algorithm(const std::string& name) {
  std::string names;
  for (const Algorithm& one : algorithms()) {
    if (one.name == name) return one;
    names += (names.empty() ? "" : ", ") + one.name;
  }
  throw bad_input(fmt::format("there is no algorithm '{}'", name), "known are " + names, "use one of them");
}

}  // namespace rlcpp::orchestrator
