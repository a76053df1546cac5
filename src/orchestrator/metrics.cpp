#include "orchestrator/metrics.h"

#include <algorithm>
#include <functional>
#include <map>

namespace rlcpp::orchestrator {
namespace {

class Mean {
 public:
  void add(double value) {
    sum_ += value;
    count_ += 1;
  }
  double value() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  std::int64_t count() const { return count_; }

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

bool all_rewards(const Group& group, double value) {
  return std::all_of(group.rollouts.begin(), group.rollouts.end(),
                     [&](const Rollout& r) { return r.reward == value; });
}

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// name/mean, /max, /min over groups of the mean within the group.
void by_group(const std::vector<Group>& groups, const std::string& name, monitor::Metrics& out,
              const std::function<double(const Group&, const Rollout&)>& value) {
  Mean all;
  double largest = 0, smallest = 0;
  for (const Group& group : groups) {
    Mean mean;
    for (const Rollout& rollout : group.rollouts) mean.add(value(group, rollout));
    largest = all.count() == 0 ? mean.value() : std::max(largest, mean.value());
    smallest = all.count() == 0 ? mean.value() : std::min(smallest, mean.value());
    all.add(mean.value());
  }
  if (all.count() == 0) return;
  out.set(name + "/mean", all.value());
  out.set(name + "/max", largest);
  out.set(name + "/min", smallest);
}

}  // namespace

BatchSummary summarise(const std::vector<Group>& groups) {
  BatchSummary out;
  Mean reward, length, truncated, errors;
  out.groups = static_cast<std::int64_t>(groups.size());
  for (const Group& group : groups) {
    out.solved_all += all_rewards(group, 1.0) ? 1 : 0;
    out.solved_none += all_rewards(group, 0.0) ? 1 : 0;
    for (const Rollout& rollout : group.rollouts) {
      out.rollouts += 1;
      out.prompt_tokens += group.prompt_length();
      out.completion_tokens += rollout.length();
      reward.add(rollout.reward);
      length.add(static_cast<double>(rollout.length()));
      truncated.add(rollout.truncated() ? 1 : 0);
      errors.add(rollout.error.empty() ? 0 : 1);
    }
  }
  out.reward = reward.value();
  out.length = length.value();
  out.truncated = truncated.value();
  out.errors = errors.value();
  return out;
}

monitor::Metrics batch_metrics(const std::vector<Group>& groups, const Environments& environments) {
  const BatchSummary summary = summarise(groups);
  std::map<std::int64_t, Mean> by_env;
  std::map<std::string, Mean> parts;
  std::map<std::string, std::int64_t> errors;
  for (const Group& group : groups) {
    for (const Rollout& rollout : group.rollouts) {
      by_env[group.example.env].add(rollout.reward);
      for (const auto& [name, value] : rollout.parts) parts[name].add(value);
      if (!rollout.error.empty()) errors[rollout.error] += 1;
    }
  }
  monitor::Metrics out;
  out.set("reward/mean", summary.reward);
  for (const auto& [env, mean] : by_env) out.set("reward/" + environments.name(env), mean.value());
  by_group(groups, "seq_len", out, [](const Group& g, const Rollout& r) {
    return static_cast<double>(g.prompt_length() + r.length());
  });
  by_group(groups, "prompt_len", out,
           [](const Group& g, const Rollout&) { return static_cast<double>(g.prompt_length()); });
  by_group(groups, "completion_len", out,
           [](const Group&, const Rollout& r) { return static_cast<double>(r.length()); });
  by_group(groups, "is_truncated", out,
           [](const Group&, const Rollout& r) { return r.truncated() ? 1.0 : 0.0; });
  by_group(groups, "num_turns", out,
           [](const Group&, const Rollout& r) { return static_cast<double>(r.turns()); });
  by_group(groups, "generation_ms", out, [](const Group&, const Rollout& r) { return r.generation_ms; });
  by_group(groups, "scoring_ms", out, [](const Group&, const Rollout& r) { return r.scoring_ms; });
  out.set("batch/solve_none", share(summary.solved_none, summary.groups));
  out.set("batch/solve_all", share(summary.solved_all, summary.groups));
  out.set("batch/effective_batch_size",
          share(summary.groups - summary.solved_none - summary.solved_all, summary.groups));
  for (const auto& [env, mean] : by_env)
    out.set("batch/" + environments.name(env), share(mean.count(), summary.rollouts));
  for (const auto& [name, mean] : parts) out.set("metrics/" + name, mean.value());
  out.set("error/mean", summary.errors);
  for (const auto& [kind, count] : errors) out.set("error/" + kind, share(count, summary.rollouts));
  return out;
}

}  // namespace rlcpp::orchestrator
