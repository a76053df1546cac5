// What the training commands configure alike, and what the trainer makes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "app/run_config.h"
#include "app/run_ranks.h"
#include "app/run_watch_config.h"
#include "train/trainer.h"

namespace rlcpp::app {

// The part that `rlcpp sft` and `rlcpp trainer` share.
struct TrainingConfig {
  ModelSection model;
  train::OptimConfig optim;
  train::SchedulerConfig scheduler;
  LogSection log;
  std::optional<BenchSection> bench;
  std::optional<std::int64_t> max_steps;
  RunSection run;
  DistSection dist;
  WatchSection watch;

  // Adds the keys of the above, and refuses those of the reference that do not exist.
  void describe_training(config::Schema& s, std::string_view bench_doc);
};

// With --bench four steps, unless max_steps says otherwise.
inline constexpr std::int64_t kBenchSteps = 4;

// `max_tokens`: of one micro-batch. The loss is the caller's.
train::TrainerOptions trainer_options(const ModelSection& model, const train::OptimConfig& optim,
                                      const train::SchedulerConfig& scheduler, const RunSection& run,
                                      std::optional<std::int64_t> max_steps, std::int64_t max_tokens);

// Throws bad_input if the trainer of an RL run is to compute what the engine cannot, and `mode` promises that
// both compute the same bits. `key`: where the model's section is.
void require_shared_arithmetic(const ModelSection& model, ops::NumericMode mode, const char* key);

// True if the learning rate of a step depends on max_steps: linear with decay, and cosine.
bool depends_on_length(const train::SchedulerConfig& scheduler);

// Of `run` only what decides the result: the seed.
RunSection decisive(const RunSection& run);

// Throws bad_input if a run is to be removed and continued at once.
void require_clean_or_resume(const RunSection& run, const std::optional<CkptSection>& ckpt);

}  // namespace rlcpp::app
