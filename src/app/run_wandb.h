// Weights & Biases: tools/wandb_relay.py, which is part of this binary, follows metrics.jsonl in a process of
// its own and sends it. The run never waits for it after its start, and loses nothing with it.
#pragma once

#include <cstdint>
#include <string>

#include "app/run_watch_config.h"
#include "base/log.h"

namespace rlcpp::app {

class WandbRelay {
 public:
  // Starts it and waits, a minute at most, until it says that it is ready. Where that fails (no Python, no
  // package wandb, no login, no network), the log says so in one sentence and the run goes on without.
  // `first_step`: earlier lines of metrics.jsonl were sent by an earlier process. `log` outlives it.
  WandbRelay(const WandbSection& section, const std::string& run_dir, const std::string& producer,
             std::int64_t first_step, const std::string& configuration_json, Logger& log);
  // As finish(1): the run ended in the middle.
  ~WandbRelay();
  WandbRelay(const WandbRelay&) = delete;
  WandbRelay& operator=(const WandbRelay&) = delete;

  // Lets it send what is left, two minutes at most. `exit_code`: of the run.
  void finish(int exit_code);
  bool running() const { return pid_ > 0; }

 private:
  bool start(const WandbSection& section, const std::string& run_dir, const std::string& producer,
             std::int64_t first_step, const std::string& configuration_json);
  std::string first_line();  // empty: it ended, or said nothing in time
  bool ended(double seconds);
  void stop();

  Logger& log_;
  int pid_ = 0, to_ = -1, from_ = -1;
};

}  // namespace rlcpp::app
