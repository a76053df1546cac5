// Summaries of repeated measurements.
#pragma once

#include <vector>

namespace rlcpp::bench {

// The reference's summary of a metric; std is the sample standard deviation (0 for fewer than two values).
struct Summary {
  double mean = 0;
  double std = 0;
  double min = 0;
  double max = 0;
};
Summary summarise(const std::vector<double>& values);

// The middle value, or the mean of the two middle ones; 0 if empty.
double median(std::vector<double> values);
// Linear interpolation between closest ranks, q in [0, 1]; 0 if empty.
double quantile(std::vector<double> values, double q);

}  // namespace rlcpp::bench
