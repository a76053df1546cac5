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

// What the environment said between two responses.
struct Reply {
  std::int64_t begin = 0, end = 0;  // its tokens in Rollout::ids, with what the template wrote around it
  std::vector<env::Message> messages;
  // One a token: whose content it is; -1: the template's own, or taken away by the filter of echo.
  std::vector<std::int32_t> message;
};

struct Rollout {
  std::int64_t id = 0;  // group id * rollouts_per_example + sample: unique in a run
  std::int32_t sample = 0;
  // Completion: responses, their stop ids included, and between them what the environment said.
  std::vector<std::int32_t> ids;
  std::vector<float> logprobs;         // one a token, as sampled; 0 where the environment speaks
  std::vector<std::int64_t> versions;  // of the policy, one a token; of the response before where it speaks
  std::vector<Reply> replies;          // one fewer than turns
  rollout::FinishReason finish = rollout::FinishReason::kStop;  // of the last response
  bool cut = false;          // a response ended at its limit, or seq_len left no room for another turn
  env::Responses responses;  // decoded, special tokens left out
  double reward = 0;
  double advantage = 0;
  std::map<std::string, double> parts;
  double generation_ms = 0;  // from the request to its last token, time in the engine's queue included
  double scoring_ms = 0;     // 0: not scored
  std::string error;         // what went wrong in the environment; such a rollout is not trained

  bool truncated() const { return cut || finish == rollout::FinishReason::kLength; }
  std::int64_t length() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t turns() const { return static_cast<std::int64_t>(replies.size()) + 1; }
  std::int64_t sampled_tokens() const {
    std::int64_t count = length();
    for (const Reply& reply : replies) count -= reply.end - reply.begin;
    return count;
  }
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
