#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> raw_reward(std::span<const Outcome> group) {
  std::vector<double> out;
  for (const Outcome& outcome : group) out.push_back(outcome.reward);
  return out;
}

}  // namespace rlcpp::orchestrator
