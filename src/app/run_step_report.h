// What every trainer reports of a step alike, whoever made its batch: times and speed as metrics, and the
// line.
#pragma once

#include <cstddef>
#include <cstdint>

#include "app/run_checkpoints.h"
#include "base/log.h"
#include "monitor/console.h"
#include "monitor/metrics.h"
#include "monitor/step_line.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct StepReport {
  std::int64_t step = 0, max_steps = -1;
  const train::StepResult& result;
  std::int64_t tokens = 0;                         // of the throughput
  double interval_seconds = 0, train_seconds = 0;  // time/step, time/forward_backward
  std::size_t peak_memory_bytes = 0;
  int ranks = 1;
  double mfu_of_rate = monitor::kMissing;  // MFU, 0 to 1, at one token a second

  double rate() const { return static_cast<double>(tokens) / interval_seconds; }
  double mfu() const { return rate() * mfu_of_rate; }
};

// Adds time/step, time/forward_backward and perf/*; with `checkpoints` (null: none are written) what they
// cost since the step before, and the room they have in `directory`.
void add_step_metrics(const StepReport& step, Checkpoints* checkpoints, const std::string& directory,
                      monitor::Metrics& metrics);

// Warns of a step whose loss or gradient was not finite. False: it was.
bool warn_if_skipped(const StepReport& step, Logger& log);

// The trainer's line of a step, or that warning.
void log_step(const StepReport& step, const monitor::Eta& eta, Logger& log);

}  // namespace rlcpp::app
