#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> max_rl(std::span<const Outcome> group) {
  double sum = 0;
  for (const Outcome& outcome : group) sum += outcome.reward;
  const double mean = group.empty() ? 0 : sum / static_cast<double>(group.size());
  std::vector<double> out;
  for (const Outcome& outcome : group) out.push_back(mean > 0 ? (outcome.reward - mean) / mean : 0.0);
  return out;
}

}  // namespace rlcpp::orchestrator
