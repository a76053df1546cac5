// What a step of several GPUs costs, from that of one and the speed of collectives. docs/performance.md,
// "Scaling", has the formula, where its constants are from, and how it compares with measurements.
#pragma once

#include <cstdint>

#include "bench/collectives.h"

namespace rlcpp::bench {

// The parameters of a model by what one collective moves (train/shard_layout.h).
struct ScaledModel {
  std::int64_t layers = 0;
  double layer_parameters = 0;    // of one layer
  double other_parameters = 0;    // embedding, final norm and head
  double adapter_parameters = 0;  // LoRA: of all adapters; 0: full fine-tuning
  double parameters() const { return static_cast<double>(layers) * layer_parameters + other_parameters; }
};

struct ScaledRun {
  int gpus = 1;
  int rows = 1;  // of a GPU and step
  int zero = 1;  // level of several GPUs that train all parameters
};

struct ScalingConstants {
  double memory_bandwidth = 3.0e12;  // bytes a second, read and written; of one GPU
  // The share of a collective behind computing that the step takes longer: both want the same
  // multiprocessors, caches and memory.
  double interference = 0.5;
  double exchange = 0.5e-3;  // seconds a step in which ranks tell each other losses and norms
  double spread = 0.005;  // standard deviation of the speed of GPUs of one name; a step waits for the slowest
};

// Seconds of a step.
struct StepTime {
  double rows = 0;       // forward and backward of the rows of the slowest GPU
  double optimizer = 0;  // what is done once a step to gradients, moments and weights, and at levels 2 and 3
                         // to the buffers of layers
  double waited = 0;     // collectives that nothing is computed beside
  double beside = 0;     // the share of those beside computing that is felt
  double exchange = 0;
  double seconds() const { return rows + optimizer + waited + beside + exchange; }
};

// The expected largest of n draws of a standard normal.
double expected_largest(int n);

// `row_seconds`: forward and backward of one row on a GPU of mean speed.
StepTime predict_step(const ScaledModel& model, const ScaledRun& run, const Links& links,
                      const ScalingConstants& constants, double row_seconds);

// The other way round: what a row takes if a step took `step_seconds`.
double row_seconds_of(const ScaledModel& model, const ScaledRun& run, const Links& links,
                      const ScalingConstants& constants, double step_seconds);

}  // namespace rlcpp::bench
