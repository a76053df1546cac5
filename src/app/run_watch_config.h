// How a run is watched from outside: Weights & Biases, a heartbeat, Prometheus, a trace, its memory. Names
// and defaults of the reference (prime-rl utils/config.py and trainer/config.py, January 2026).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/config/schema.h"

namespace rlcpp::app {

struct WandbExtrasSection {
  bool samples = true, distributions = true;
  std::int64_t interval = 10;
  void describe(config::Schema& s);
};

struct WandbSection {
  std::string project = "prime-rl";
  std::optional<std::string> name, id;
  bool offline = false;
  std::optional<WandbExtrasSection> log_extras;
  std::string python = "python3";
  void describe(config::Schema& s) { describe_keys(s, false); }

 protected:
  // `extras`: of a run that has rollouts.
  void describe_keys(config::Schema& s, bool extras);
};

struct RolloutWandbSection : WandbSection {
  RolloutWandbSection() { log_extras.emplace(); }
  void describe(config::Schema& s) { describe_keys(s, true); }
};

struct HeartbeatSection {
  std::string url;
  void describe(config::Schema& s);
};

struct MetricsServerSection {
  std::string host = "0.0.0.0";
  std::int64_t port = 8000;
  void describe(config::Schema& s);
};

// The keys at the top of a command. Which of them a command has is its `describe`.
struct WatchSection {
  std::optional<WandbSection> wandb;
  std::optional<RolloutWandbSection> rollout_wandb;  // in place of `wandb`
  std::optional<HeartbeatSection> heartbeat;
  std::optional<MetricsServerSection> metrics_server;
  std::optional<std::string> trace_path, memory_profiler_path;

  void describe_trainer(config::Schema& s);       // sft and trainer
  void describe_rl(config::Schema& s);            // both in one process
  void describe_orchestrator(config::Schema& s);  // what the reference's orchestrator has
  // Throws bad_input: a trace of more than `kTraceSteps` steps, a heartbeat without an address.
  void validate(std::optional<std::int64_t> max_steps) const;
  const WandbSection* chosen_wandb() const {
    if (wandb.has_value()) return &*wandb;
    return rollout_wandb.has_value() ? &*rollout_wandb : nullptr;
  }

 private:
  void describe_common(config::Schema& s);
};

// As in the reference: a trace is for looking at a few steps.
inline constexpr std::int64_t kTraceSteps = 10;

}  // namespace rlcpp::app
