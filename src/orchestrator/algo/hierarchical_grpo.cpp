#include <map>
#include <utility>

#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> hierarchical_grpo(std::span<const Outcome> group) {
  using Set = std::pair<std::int64_t, std::int64_t>;  // agent; episode, or -1 for all of them
  const auto set_of = [](const Outcome& outcome) {
    return Set{outcome.agent, outcome.agent == 0 ? outcome.episode : -1};
  };
  std::map<Set, std::pair<double, double>> sums;
  for (const Outcome& outcome : group) {
    auto& [sum, count] = sums[set_of(outcome)];
    sum += outcome.reward;
    count += 1;
  }
  std::vector<double> out;
  for (const Outcome& outcome : group) {
    const auto& [sum, count] = sums[set_of(outcome)];
    out.push_back(count > 1 ? outcome.reward - sum / count : 0.0);
  }
  return out;
}

}  // namespace rlcpp::orchestrator
