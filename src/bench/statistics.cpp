#include "bench/statistics.h"

#include <algorithm>
#include <cmath>

namespace rlcpp::bench {

Summary summarise(const std::vector<double>& values) {
  Summary s;
  if (values.empty()) return s;
  s.min = s.max = values.front();
  for (const double value : values) {
    s.mean += value;
    s.min = std::min(s.min, value);
    s.max = std::max(s.max, value);
  }
  s.mean /= static_cast<double>(values.size());
  if (values.size() > 1) {
    double squares = 0;
    for (const double value : values) squares += (value - s.mean) * (value - s.mean);
    s.std = std::sqrt(squares / static_cast<double>(values.size() - 1));
  }
  return s;
}

double median(std::vector<double> values) {
  return quantile(std::move(values), 0.5);
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

}  // namespace rlcpp::bench
