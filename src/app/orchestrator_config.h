// The keys of `rlcpp orchestrator`: those of the reference's orchestrator at the top (prime-rl
// orchestrator/config.py, January 2026), and an engine of its own instead of a server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/rl_config.h"
#include "app/transport_config.h"

namespace rlcpp::app {

struct OrchestratorModelSection {
  std::string name = "Qwen/Qwen3-0.6B";
  void describe(config::Schema& s);
};

struct OrchestratorCkptSection {
  std::optional<std::int64_t> interval, resume_step, keep_last, keep_interval;
  void describe(config::Schema& s);
};

struct OrchestratorConfig {
  OrchestratorModelSection model;
  std::optional<std::int64_t> max_steps, row_tokens;
  orchestrator::OrchestratorSection orchestrator;  // its keys are at the top
  TokenizerSection tokenizer;
  InferenceSection inference;
  OrchestratorCkptSection ckpt;
  RolloutWriterSection rollout_transport;
  WeightReaderSection weight_broadcast;
  LogSection log;
  RunSection run;
  WatchSection watch;

  OrchestratorConfig() { run.output_dir = std::string("outputs/") + kRunFolder; }
  void describe(config::Schema& s);
  // Tells the environments where they are configured.
  void place(const config::Origins& origins);
  // The configuration of `rlcpp rl` that samples the same: what the shared code reads.
  RlConfig as_rl() const;
  void validate() const;  // after place(); throws bad_input
  // What decides the batches, as JSON.
  std::string decisive_json() const;
  // True if the rollouts of `step`, of `newest` steps in all, stay for ckpt.resume_step.
  bool keeps(std::int64_t step, std::int64_t newest) const;
};

}  // namespace rlcpp::app
