// Reinforcement learning as a call: what `rlcpp rl` does after its arguments are read, and what benchmarks
// drive.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/rl_config.h"
#include "app/run_model.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct RlFacts {
  RunModel model;
  Device device;
  std::size_t planned_bytes = 0;
};

struct RlStep {
  std::int64_t step = 0;        // steps done, this one included
  double generate_seconds = 0;  // sampling, scoring and packing
  double score_seconds = 0;     // of those: the environments
  double train_seconds = 0;     // forward, backward, update
  double interval_seconds = 0;  // from the end of the step before: with validation, logging and saving
  std::int64_t tokens = 0;      // prompts and completions of the batch
  std::vector<std::int64_t> document_lengths;
  double reward = 0;
  train::StepResult result;
  std::size_t peak_memory_bytes = 0;
};

struct RlHooks {
  std::function<void(const RlFacts&)> on_start;  // the plan fits, nothing is allocated yet
  std::function<void(const RlStep&)> on_step;
};

struct RlOutcome {
  ExitCode exit = ExitCode::kDone;
  std::int64_t steps = 0;                    // of the whole run, earlier processes included
  double first_reward = 0, last_reward = 0;  // of this process
  std::optional<double> val_reward;          // newest
  double seconds = 0;
  std::string run_dir, weights_dir;  // empty: none written
};

// `loaded` says where values came from; `invocation` gives logging, --dry-run, --json and the command line.
// Prints the banner and step lines to the log, the result (or the dry run's prompts) to stdout. Stops with
// runtime_failure, naming step, rollout, token and both values, if the trainer sees a sampled token with
// another log-probability than the engine (exact mode).
RlOutcome run_rl(RlConfig config, const config::Loaded& loaded, const Invocation& invocation,
                 const RlHooks& hooks = {});

}  // namespace rlcpp::app
