// The keys of `rlcpp rl` (prime-rl rl.py and its children, January 2026): a trainer, an orchestrator and an
// engine in one process, with shortcuts at the top that are copied into them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/run_training.h"
#include "base/config/load.h"
#include "orchestrator/config.h"
#include "rollout/engine.h"
#include "train/audit.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct ModelShortcut {
  std::optional<std::string> name;
  void describe(config::Schema& s);
};

struct RlTrainerSection {
  ModelSection model;
  train::OptimConfig optim;
  train::SchedulerConfig scheduler;
  train::LossConfig loss;
  void describe(config::Schema& s);
  std::optional<train::AuditConfig> audit;
};

struct InferenceModelSection {
  std::optional<std::int64_t> max_model_len;
  void describe(config::Schema& s);
};

struct InferenceSection {
  InferenceModelSection model;
  std::int64_t max_sequences = 256, max_batch_tokens = 2048, page_size = 16;
  std::optional<std::int64_t> num_pages;
  std::string on_new_weights = "recompute";
  void describe(config::Schema& s);
};

struct RlConfig {
  ModelShortcut model;
  std::optional<std::int64_t> seq_len, max_model_len, max_async_level, max_steps;
  TokenizerSection tokenizer;
  RlTrainerSection trainer;
  orchestrator::OrchestratorSection orchestrator;
  InferenceSection inference;
  std::optional<CkptSection> ckpt = CkptSection{};
  LogSection log;
  std::optional<BenchSection> bench;
  RunSection run;
  WatchSection watch;

  void describe(config::Schema& s);
  // Copies the shortcuts into the sections. Throws bad_input if `origins` shows that a section says something
  // else. Tells the environments where they are configured.
  void apply_shortcuts(const config::Origins& origins);
  // Where a value that a shortcut gave comes from, for resolved.toml: "command line (model.name)".
  static config::Loaded shortcuts_as_origins(config::Loaded loaded);
  void validate() const;  // cross-checks, after apply_shortcuts(); throws bad_input

  std::int64_t row_tokens() const;        // of the trainer's packed rows
  std::int64_t max_model_len_of() const;  // of the engine
  // The orchestrator's section with the run's seed mixed into its own.
  orchestrator::OrchestratorSection seeded_orchestrator() const;
  // What decides the result, as JSON: not where it is written, how long it runs, or how it is watched.
  std::string decisive_json() const;
};

}  // namespace rlcpp::app
