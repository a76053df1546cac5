// Gauges of the newest step in Prometheus's text format (version 0.0.4), under the reference's names
// (prime-rl utils/metrics_server.py, January 2026).
#pragma once

#include <cstdint>
#include <string>

#include "monitor/metrics.h"

namespace rlcpp::monitor {

// trainer_step, trainer_loss, trainer_throughput_tokens_per_sec, trainer_last_step_timestamp_seconds,
// trainer_grad_norm, trainer_peak_memory_gib, trainer_learning_rate, trainer_mfu_percent, trainer_entropy and
// trainer_mismatch_kl, those of them that `metrics` has. `unix_seconds`: when the step ended.
std::string trainer_gauges(std::int64_t step, double unix_seconds, const Metrics& metrics);

}  // namespace rlcpp::monitor
