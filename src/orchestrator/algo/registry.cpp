#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

const std::vector<Algorithm>& algorithms() {
  static const std::vector<Algorithm> all = {
      {"grpo", grpo}, {"length_weighted_mean", length_weighted_mean}, {"raw_reward", raw_reward}};
  return all;
}

}  // namespace rlcpp::orchestrator
