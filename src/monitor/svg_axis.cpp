#include "monitor/svg_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "monitor/console.h"

namespace rlcpp::monitor {
namespace {

double nice_distance(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double fraction = rough / power;
  const double nice = fraction < 1.5 ? 1 : fraction < 3.5 ? 2 : fraction < 7.5 ? 5 : 10;
  return nice * power;
}

std::string label_of(double value, double distance, double largest) {
  if (value == 0) return "0";
  // Neighbours must not look alike, however close they are for their size.
  const int digits =
      std::clamp(static_cast<int>(std::ceil(std::log10(largest / distance) - 1e-9)) + 1, 3, 15);
  if (largest < 1e-3) return fmt::format("{:.{}g}", value, digits);
  if (largest >= 1e13) return fmt::format("{:.{}g}", value, digits);
  const double unit = largest >= 1e9 ? 1e9 : largest >= 1e6 ? 1e6 : largest >= 1e4 ? 1e3 : 1;
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(distance / unit) - 1e-9)), 0, 12);
  return fmt::format("{:.{}f}{}", value / unit, decimals,
                     unit == 1e9   ? "G"
                     : unit == 1e6 ? "M"
                     : unit == 1e3 ? "k"
                                   : "");
}

}  // namespace

Axis make_axis(const std::vector<double>& values, int wanted, bool whole, bool padded) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (low > high) low = 0, high = 1;
  // A range that rounding could swallow is no range: a flat curve gets room, so that it is seen in the
  // middle.
  const double size = std::max(std::abs(low), std::abs(high));
  if (high - low <= 1e-9 * size || high == low) {
    const double room = whole ? 1 : size > 0 ? 0.1 * size : 1;
    low -= room;
    high += room;
  } else if (padded) {
    const double room = 0.05 * (high - low);
    low -= room;
    high += room;
  }
  Axis axis{low, high, {}, {}};
  double distance = nice_distance((high - low) / std::max(1, wanted));
  if (whole) distance = std::max(1.0, distance);
  const double first = std::ceil(low / distance - 1e-9);
  for (double k = first; k * distance <= high + 1e-9 * distance && axis.ticks.size() < 50; ++k) {
    axis.ticks.push_back(k == 0 ? 0.0 : k * distance);
  }
  const double largest = std::max(std::abs(low), std::abs(high));
  for (const double tick : axis.ticks) axis.labels.push_back(label_of(tick, distance, largest));
  return axis;
}

}  // namespace rlcpp::monitor
