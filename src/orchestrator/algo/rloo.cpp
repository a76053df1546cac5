#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

std::vector<double> rloo(std::span<const Outcome> group) {
  // r - (sum - r) / (n - 1) = n / (n - 1) (r - mean)
  std::vector<double> out = grpo(group);
  const auto n = static_cast<double>(group.size());
  for (double& value : out) value = group.size() < 2 ? 0.0 : value * n / (n - 1);
  return out;
}

}  // namespace rlcpp::orchestrator
