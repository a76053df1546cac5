// One axis of a plot: a range that holds the data, and ticks at round numbers.
#pragma once

#include <string>
#include <vector>

namespace rlcpp::monitor {

struct Axis {
  double low = 0, high = 1;
  std::vector<double> ticks;        // ascending, within [low, high]
  std::vector<std::string> labels;  // as precise as the distance of the ticks asks for

  // The place of `value` between two pixels.
  double place(double value, double from, double to) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

// `values`: any, those not finite are ignored. Ticks are 1, 2 or 5 times a power of ten apart (Heckbert,
// "Nice numbers for graph labels", Graphics Gems, 1990), about `wanted` of them. `whole`: never less than 1
// apart, as for steps. `padded`: a twentieth of the range is left free at both ends. One value, or none, gets
// a range around it.
Axis make_axis(const std::vector<double>& values, int wanted, bool whole, bool padded);

}  // namespace rlcpp::monitor
