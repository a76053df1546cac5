// When a run saves, what it keeps, and how it continues: the policy around train/checkpoint.h, for every
// producer.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "app/run_config.h"
#include "app/run_directory.h"
#include "base/error.h"
#include "train/checkpoint.h"

namespace rlcpp::app {

class Checkpoints {
 public:
  // `section` absent: nothing is ever saved. `tokenizer_dir` may be empty: exported weights then have no
  // tokenizer. `configuration`: what decides the result, as config::to_json gives it; kept in each
  // checkpoint.
  Checkpoints(const RunDirectory& run, const std::optional<CkptSection>& section, std::string configuration,
              std::string tokenizer_dir, Logger& log);

  bool enabled() const { return section_.has_value(); }
  bool due(std::int64_t step) const;  // a multiple of ckpt.interval

  // Writes checkpoints/step_N and, if configured, weights/step_N, then removes what keep_last and
  // keep_interval give up. The configuration is filled in here. Does nothing for a step that is already
  // saved.
  void save(train::Trainer& trainer, train::CheckpointContent content);

  // The step that ckpt.resume_step means; nullopt: a fresh start. Throws bad_input if there is no such
  // checkpoint.
  std::optional<std::int64_t> resume_step();
  // Restores the trainer, sets later steps of the directory aside, names the keys in which the configuration
  // differs. Throws bad_input if the checkpoint has no state of `producer` ("data" of "sft", ...), which
  // becomes `extra` of the result.
  train::Restored resume(std::int64_t step, train::Trainer& trainer, const std::string& producer,
                         const std::string& command);

  std::optional<std::int64_t> last_saved() const { return last_saved_; }
  // Directory of that checkpoint; empty if none.
  std::string last_directory() const;
  // Directory of the newest exported weights; empty if none.
  const std::string& weights_dir() const { return weights_dir_; }
  double seconds() const { return seconds_; }  // spent saving, so far

 private:
  void report_changes(const std::string& checkpoint, const std::string& hash);
  void export_weights(train::Trainer& trainer, std::int64_t step);

  const RunDirectory& run_;
  std::optional<CkptSection> section_;
  std::string configuration_, config_hash_, tokenizer_dir_;
  Logger& log_;
  std::optional<std::int64_t> last_saved_;
  std::string weights_dir_;
  double seconds_ = 0;
};

// Ends a run whose trainer gave up: its weights and moments are good ones, so `save` stores them first, and
// the help of `stop` then says where. Throws `stop`; without `checkpoints` (or with ckpt None) as it is.
[[noreturn]] void save_and_throw(const Error& stop, const Checkpoints* checkpoints,
                                 const std::function<void()>& save, Logger& log);

}  // namespace rlcpp::app
