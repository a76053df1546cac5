// What is kept of a step whose loss or gradient was not finite, and the loss metrics under the reference's
// names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/batch.h"
#include "monitor/metrics.h"
#include "train/loss/loss.h"

namespace rlcpp::train {

// Writes <dir>/nonfinite_step_<N>.json, N = `step` as the console counts (from 1), with the micro-batches,
// enough to run the step again alone. Returns the path.
std::string dump_batch(const std::string& dir, std::int64_t step, double loss, double grad_norm,
                       const std::vector<data::MicroBatch>& batches);

// What ends a run after `steps` such steps in a row, `last` of which has the numbers given; `dump`: of
// dump_batch(), or empty.
Error gave_up(std::int64_t steps, std::int64_t last, double loss, double grad_norm, const std::string& dump);

// Distributions of a step under the reference's names: entropy/mean, mismatch_kl/max, ...
void add_metrics(const LossMetrics& values, monitor::Metrics& out);

}  // namespace rlcpp::train
