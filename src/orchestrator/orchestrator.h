// One step of reinforcement learning up to the trainer's door: sample, score, advantages, pack, measure.
// Whoever owns policy and trainer calls next_batch(), trains, and sets the client's version.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/thread_pool.h"
#include "client/policy_client.h"
#include "data/batch.h"
#include "monitor/metrics.h"
#include "orchestrator/algo/advantage.h"
#include "orchestrator/buffer.h"
#include "orchestrator/config.h"
#include "orchestrator/environments.h"
#include "orchestrator/evaluation.h"
#include "orchestrator/metrics.h"
#include "orchestrator/scheduler.h"
#include "train/loss/loss.h"

namespace rlcpp::orchestrator {

// What is counted over a whole run.
struct Progress {
  std::int64_t step = 0;  // batches given so far
  std::int64_t total_tokens = 0, total_samples = 0, total_problems = 0;
};

struct TrainingBatch {
  std::int64_t step = 0;     // counted from 1
  std::int64_t version = 0;  // of the policy that every token was sampled from
  std::vector<Group> groups;
  std::vector<data::MicroBatch> micro_batches;
  BatchSummary summary;
  monitor::Metrics metrics;
  double generate_seconds = 0, score_seconds = 0;
  double pack_seconds = 0;  // from groups to rows; part of generate_seconds
};

using ProgressFunction = std::function<void(std::int64_t done, std::int64_t of)>;

class Orchestrator {
 public:
  struct Parts {
    TextCodec codec;
    std::vector<std::int32_t> stop_ids;
    std::int64_t row_tokens = 0;  // of a micro-batch
    std::int64_t eval_groups_in_flight = 64;
    client::WaitLimits wait;
  };
  // Throws bad_input for what the section gets wrong. Needs no policy yet, so a dry run ends here.
  Orchestrator(const OrchestratorSection& section, Parts parts);
  Orchestrator(const Orchestrator&) = delete;
  Orchestrator& operator=(const Orchestrator&) = delete;
  // Whom to ask for tokens; outlives the orchestrator. Before anything below is called.
  void attach(client::PolicyClient& client);

  TrainingBatch next_batch(const ProgressFunction& progress = {});

  // val_reward/mean and val_reward/<env>. Only with a val section.
  struct Validation {
    std::vector<Group> groups;
    double reward = 0, seconds = 0;
    monitor::Metrics metrics;
  };
  Validation validate(const ProgressFunction& progress = {});
  // All environments of the eval section.
  monitor::Metrics evaluate_all(const ProgressFunction& progress = {});

  const Environments& environments() const { return environments_; }
  // Of the val section; null without one.
  const Environments* validation_environments() const { return val_.has_value() ? &*val_ : nullptr; }
  // Prompts that a validation really has: val.num_examples, or fewer if an environment holds less than its
  // share. Only with a val section.
  std::int64_t validation_examples() const;
  // A sentence with both numbers for every key that asks for more prompts than there are.
  std::vector<std::string> shortages() const;
  // Looks at all prompts that training, validation and evaluation may draw. Throws bad_input if one cannot be
  // made into tokens, or if an environment has none with room for an answer. Returns sentences about those
  // without room, and about bytes that the tokenizer leaves out. seq_len_key: the key's name in this command.
  using SurveyProgress = std::function<void(std::int64_t done, std::int64_t of)>;
  std::vector<std::string> survey(ThreadPool& pool, const std::string& seq_len_key,
                                  const SurveyProgress& progress = {}) const;
  const OrchestratorSection& section() const { return section_; }
  const Progress& progress() const { return progress_; }

  // Everything a bit-equal continuation needs, between two batches: progress, buffer, the next group's
  // number.
  nlohmann::json state() const;
  // Returns sentences worth a warning. Throws bad_input if `state` is not one of these.
  std::vector<std::string> restore(const nlohmann::json& state);

 private:
  // Of environment `env` in val.num_examples: shares differ by one at most and add up.
  std::int64_t validation_share(std::int64_t env) const;
  // Prompts that an evaluation of environment `env` is to use; -1: all.
  std::int64_t eval_examples(std::int64_t env) const;
  EvaluationOptions evaluation_options(const EvalSamplingSection& sampling) const;

  OrchestratorSection section_;
  client::PolicyClient* client_ = nullptr;
  Parts parts_;
  Environments environments_;
  std::optional<Environments> val_, eval_;
  const Algorithm& algorithm_;
  RoleWeights roles_;  // of what environments say: trained as text
  Buffer buffer_;
  std::unique_ptr<Scheduler> scheduler_;  // from attach() on
  Progress progress_;
};

// Step, rollout and token of a place in the step's documents, as people find it in rollouts/.
std::string describe_place(const TrainingBatch& batch, std::int64_t document, std::int64_t token);

// Says which sampled token the trainer sees with another probability, if `first` holds one: a sentence with
// step, rollout, token and both values. Every token of the batch was sampled by the policy that is trained,
// so in exact mode there is none.
std::optional<std::string> describe_mismatch(const TrainingBatch& batch,
                                             const std::optional<train::Mismatch>& first);

}  // namespace rlcpp::orchestrator
