#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> length_weighted_mean(std::span<const Outcome> group) {
  double weighted = 0;
  double lengths = 0;
  for (const Outcome& outcome : group) {
    weighted += outcome.reward * static_cast<double>(outcome.length);
    lengths += static_cast<double>(outcome.length);
  }
  if (lengths == 0) return grpo(group);
  std::vector<double> out;
  for (const Outcome& outcome : group) out.push_back(outcome.reward - weighted / lengths);
  return out;
}

}  // namespace rlcpp::orchestrator
