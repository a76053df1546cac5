// The trainer of RL as a process of its own: what `rlcpp trainer` and `rlcpp rl --bench` do. Its rollouts
// come from an `rlcpp orchestrator` beside it (rl_trainer_run.cpp), or are made up (rl_trainer_fake.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/rl_config.h"
#include "app/run_model.h"
#include "app/run_step_report.h"
#include "app/run_training.h"
#include "app/transport_config.h"
#include "train/audit.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct FakeRolloutsSection {
  std::int64_t batch_size = 2;
  bool generate_samples = false;
  double logprob_noise = 0.05;
  void describe(config::Schema& s);
};

struct TrainerDataSection {
  std::optional<FakeRolloutsSection> fake;
  void describe(config::Schema& s);
};

struct TrainerConfig : TrainingConfig {
  train::LossConfig loss;
  std::optional<train::AuditConfig> audit;
  TrainerDataSection data;
  TokenizerSection tokenizer;
  std::int64_t max_async_level = 1;
  RolloutReaderSection rollout_transport;
  WeightWriterSection weight_broadcast;
  std::optional<CkptSection> ckpt = CkptSection{};

  void describe(config::Schema& s);
  // With `bench`: fake data, no files, four steps unless max_steps says otherwise.
  void apply_bench();
  // Throws bad_input for a key that `origins` shows as given and that made-up rollouts have no use for.
  void refuse_idle(const config::Origins& origins) const;
  void validate() const;  // throws bad_input
  // What decides the result, as JSON.
  std::string decisive_json() const;
  std::int64_t seq_len() const { return model.seq_len.value_or(2048); }
};

// The trainer's part of an RL configuration, for its benchmark: as many fake rows as a step has rollouts, as
// the reference has it.
TrainerConfig trainer_of(RlConfig config, const config::Origins& origins);

struct TrainerOutcome {
  ExitCode exit = ExitCode::kDone;
  std::int64_t steps = 0;
  double first_loss = 0, last_loss = 0;
  std::string memory = {};  // planned and peak, for the result
  double seconds = 0;
  bool first = true;  // of several processes: the one that speaks
};

// Trains on what `config.data` says. The sampler's log-probabilities of fake rollouts are the policy's own
// plus noise, so that no mask rejects the batch; a step whose gradient is zero is a runtime_failure. Real
// rollouts are awaited, trained in their order, and answered with the new weights; `hooks` are for fake ones.
TrainerOutcome run_trainer(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation,
                           const TrainingHooks& hooks = {});

// The same as a command: with --bench its steps go to the recorder, which prints the table. Returns the exit
// code.
int run_trainer_command(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation);

}  // namespace rlcpp::app
