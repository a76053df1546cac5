// Sampling and scoring prompts that are not trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "client/policy_client.h"
#include "monitor/metrics.h"
#include "orchestrator/environments.h"

namespace rlcpp::orchestrator {

struct EvaluationOptions {
  std::int64_t num_examples = -1;  // of each environment; -1: all
  std::int64_t skip_first = 0;
  std::int64_t rollouts_per_example = 1;
  std::int64_t seq_len = 2048;
  std::int64_t groups_in_flight = 64;
  SamplingSection sampling;
  std::vector<std::int32_t> stop_ids;
  std::uint64_t seed = 42;
  client::WaitLimits wait;
};

// Tasks [first, last) of an environment.
struct TaskRange {
  std::int64_t first = 0, last = 0;
  std::int64_t count() const { return last - first; }
};
// Those that an evaluation looks at, of `size` there are: num_examples (-1: all) behind the first skip_first.
TaskRange evaluated_tasks(std::int64_t num_examples, std::int64_t skip_first, std::int64_t size);

struct EvaluationResult {
  std::vector<Group> groups;  // in the order of the examples
  std::int64_t too_long = 0;  // prompts without room for a completion: left out
  double reward = 0;          // mean over rollouts
  double seconds = 0;
};

// Evaluates environment `env`. The seeds depend on the option's seed, the example and the sample, never on
// the step: two policies are compared on the same draws. Nothing may be outstanding at the client.
// progress(done, of) counts rollouts.
EvaluationResult evaluate(client::PolicyClient& client, const Environments& environments, std::int64_t env,
                          const EvaluationOptions& options,
                          const std::function<void(std::int64_t, std::int64_t)>& progress);

// eval/<env>/avg@k, pass@k for powers of two up to k (only if every reward is 0 or 1),
// completion_len/{avg,max,min}, is_truncated/mean, time; k = rollouts of an example. pass@j = 1 - C(n - c, j)
// / C(n, j), c of n right (Chen et al. 2021).
monitor::Metrics evaluation_metrics(const EvaluationResult& result, const std::string& env_name);
double pass_at(std::int64_t n, std::int64_t correct, std::int64_t j);

}  // namespace rlcpp::orchestrator
