// What every loss with an importance ratio looks at in a document, and the metrics that all of them log.
#pragma once

#include <cstdint>
#include <vector>

#include "train/loss/loss.h"

namespace rlcpp::train {

// d_t = logp_trainer - logp_inference of the loss tokens, in f64, and their statistics. prime-rl
// trainer/rl/loss.py, January 2026.
struct Ratios {
  std::vector<std::size_t> tokens;  // places of the loss tokens
  std::vector<double> log_ratio;    // d, one a loss token
  std::vector<double> ratio;        // exp(d)
  double sum_log = 0;
  double geometric = 1;  // exp(mean d)
  double smallest = 1, largest = 1;
};
Ratios ratios_of(const DocumentStreams& doc);

// Which loss tokens a loss rejects, and why.
struct Masked {
  std::vector<std::uint8_t> low, high;  // by their own ratio, one a loss token
  bool whole = false;                   // the whole document
  bool geo_low = false, geo_high = false, sequence_low = false, sequence_high = false;
  bool at(std::size_t i) const { return whole || low[i] != 0 || high[i] != 0; }
};

// Appends everything that does not depend on the kind of loss.
void add_metrics(const DocumentStreams& doc, const Ratios& ratios, const Masked& masked,
                 LossMetrics& metrics);

}  // namespace rlcpp::train
