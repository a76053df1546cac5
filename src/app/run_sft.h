// Supervised fine-tuning as a call: what `rlcpp sft` does after its arguments are read, and what benchmarks
// drive.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/run_model.h"
#include "app/run_step_report.h"
#include "app/run_training.h"
#include "data/config.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct ValDataSection {
  std::optional<std::string> name;  // None: data.name
  std::vector<std::string> subsets, splits = {"validation"};
  std::optional<std::int64_t> max_examples;
  void describe(config::Schema& s);
};

struct ValSection {
  std::int64_t interval = 50;
  bool eval_on_start = false;
  ValDataSection data;
  void describe(config::Schema& s);
};

struct SftConfig : TrainingConfig {
  TokenizerSection tokenizer;
  data::DataConfig data;
  std::optional<ValSection> val;
  std::optional<CkptSection> ckpt = CkptSection{};

  void describe(config::Schema& s);
  // With `bench`: fake data, no files, four steps unless max_steps says otherwise.
  void apply_bench();
  void validate() const;  // cross-checks; throws bad_input
  // What decides the result, as JSON: not where it is written, how long it runs, or how it is watched.
  std::string decisive_json() const;
};

struct SftOutcome {
  ExitCode exit = ExitCode::kDone;
  std::int64_t steps = 0;                // of the whole run, earlier processes included
  double first_loss = 0, last_loss = 0;  // of this process
  std::optional<double> val_loss = {};
  double seconds = 0;
  std::string run_dir = {}, weights_dir = {};  // empty: none written
  bool first = true;                           // of several processes: the one that speaks
};

// `invocation` gives logging, --dry-run, --json and the command line; `origins` where values came from.
// Prints the banner and step lines to the log, the result (or the dry run's samples) to stdout.
SftOutcome run_sft(SftConfig config, const config::Loaded& loaded, const Invocation& invocation,
                   const TrainingHooks& hooks = {});

}  // namespace rlcpp::app
