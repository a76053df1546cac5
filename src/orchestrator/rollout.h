// What one completion of one prompt becomes on its way from the engine to the trainer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "env/environment.h"
#include "rollout/request.h"

namespace rlcpp::orchestrator {

// A task of one of the environments.
struct Example {
  std::int64_t env = 0;    // place in orchestrator.env
  std::int64_t index = 0;  // task of that environment
  bool operator==(const Example&) const = default;
};

struct Rollout {
  std::int64_t id = 0;  // group id * rollouts_per_example + sample: unique in a run
  std::int32_t sample = 0;
  std::vector<std::int32_t> ids;       // completion, the stop id included
  std::vector<float> logprobs;         // one a token, as sampled
  std::vector<std::int64_t> versions;  // of the policy, one a token
  rollout::FinishReason finish = rollout::FinishReason::kStop;
  std::string text;  // decoded completion, special tokens left out
  double reward = 0;
  double advantage = 0;
  std::map<std::string, double> parts;
  double generation_ms = 0;  // from the request to its last token, time in the engine's queue included
  double scoring_ms = 0;     // 0: not scored
  std::string error;         // what went wrong while scoring; such a rollout is not trained

  bool truncated() const { return finish == rollout::FinishReason::kLength; }
  std::int64_t length() const { return static_cast<std::int64_t>(ids.size()); }
};

// All completions of one prompt.
struct Group {
  std::int64_t id = 0;
  Example example;
  env::Task task;
  std::vector<std::int32_t> prompt_ids;
  std::vector<Rollout> rollouts;

  std::int64_t prompt_length() const { return static_cast<std::int64_t>(prompt_ids.size()); }
  double mean_reward() const {
    double sum = 0;
    for (const Rollout& rollout : rollouts) sum += rollout.reward;
    return rollouts.empty() ? 0 : sum / static_cast<double>(rollouts.size());
  }
};

}  // namespace rlcpp::orchestrator
