// What a batch of groups says about the policy, under the reference's names (prime-rl
// orchestrator/orchestrator.py, January 2026).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "monitor/metrics.h"
#include "orchestrator/environments.h"
#include "orchestrator/rollout.h"

namespace rlcpp::orchestrator {

// Numbers of a batch that more than one reader wants.
struct BatchSummary {
  std::int64_t groups = 0, rollouts = 0, prompt_tokens = 0, completion_tokens = 0;
  std::int64_t solved_all = 0, solved_none = 0;  // groups whose rewards are all 1, all 0
  double reward = 0;                             // mean over rollouts
  double length = 0;                             // mean completion tokens
  double truncated = 0;                          // share of rollouts
  double errors = 0;                             // share of rollouts
  std::int64_t tokens() const { return prompt_tokens + completion_tokens; }
};
BatchSummary summarise(const std::vector<Group>& groups);

// reward/mean, reward/<env>; {seq_len,prompt_len,completion_len,is_truncated,num_turns,generation_ms,
// scoring_ms}/{mean,max,min} of group means;
// batch/solve_none, solve_all, effective_batch_size (shares of groups), batch/<env> (share of rollouts);
// metrics/<part>; error/mean, error/<kind>.
monitor::Metrics batch_metrics(const std::vector<Group>& groups, const Environments& environments);

}  // namespace rlcpp::orchestrator
