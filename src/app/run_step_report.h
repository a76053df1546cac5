// A step as every trainer reports it, whoever made its batch: to benchmarks, as metrics, and as a line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/run_checkpoints.h"
#include "app/run_model.h"
#include "base/log.h"
#include "monitor/console.h"
#include "monitor/metrics.h"
#include "monitor/step_line.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct TrainedStep {
  std::int64_t step = 0;        // steps done, this one included
  double step_seconds = 0;      // the step alone: forward, backward, update
  double interval_seconds = 0;  // from the end of the step before: with data, logging and saving
  std::int64_t tokens = 0;      // what the rate counts
  std::int64_t row_tokens = 0;  // of all rows, padding included: what benchmarks count
  std::vector<std::int64_t> document_lengths = {};
  train::StepResult result;
  std::size_t peak_memory_bytes = 0;
  double rate() const { return static_cast<double>(tokens) / interval_seconds; }
};

struct TrainingFacts {
  RunModel model;
  Device device;
  std::size_t planned_bytes = 0;  // of a rank
  int ranks = 1;
  int ranks_here = 1;  // of this machine: CPU ranks share its peak
};

struct TrainingHooks {
  std::function<void(const TrainingFacts&)> on_start;  // the plan fits, nothing is allocated yet
  std::function<void(const TrainedStep&)> on_step;
};

// Of the documents of all rows.
std::vector<std::int64_t> document_lengths(const std::vector<data::MicroBatch>& rows);

// What stays the same from step to step.
struct StepReports {
  std::int64_t max_steps = -1;
  int ranks = 1;
  double mfu_of_rate = monitor::kMissing;  // MFU, 0 to 1, at one token a second

  // Adds time/step, time/forward_backward and perf/*; with `checkpoints` (null: none are written) what they
  // cost since the step before, and the room they have in `directory`.
  void add_metrics(const TrainedStep& step, Checkpoints* checkpoints, const std::string& directory,
                   monitor::Metrics& metrics) const;
  // Warns of a step whose loss or gradient was not finite. False: it was.
  bool warn_if_skipped(const TrainedStep& step, Logger& log) const;
  // The trainer's line of a step, or that warning.
  void log_line(const TrainedStep& step, const monitor::Eta& eta, Logger& log) const;
};

}  // namespace rlcpp::app
