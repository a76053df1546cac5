#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "orchestrator/algo/advantage.h"

namespace rlcpp::orchestrator {

void normalise_over_tokens(std::span<const std::vector<Outcome>> groups,
                           std::span<std::vector<double>> advantages) {
  RLCPP_CHECK(groups.size() == advantages.size());
  const auto over_tokens = [&](const auto& value) {
    double sum = 0, tokens = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t i = 0; i < groups[g].size(); ++i) {
        const auto length = static_cast<double>(groups[g][i].length);
        sum += length * value(advantages[g][i]);
        tokens += length;
      }
    }
    return tokens > 0 ? sum / tokens : 0.0;
  };
  const double mean = over_tokens([](double a) { return a; });
  const double variance = over_tokens([mean](double a) { return (a - mean) * (a - mean); });
  const double scale = 1.0 / std::sqrt(std::max(variance, 1e-8));
  for (std::vector<double>& group : advantages) {
    for (double& value : group) value = (value - mean) * scale;
  }
}

}  // namespace rlcpp::orchestrator
