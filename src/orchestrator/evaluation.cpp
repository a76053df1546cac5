#include "orchestrator/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/rng.h"
#include "base/wait.h"
#include "orchestrator/conversations.h"
#include "orchestrator/metrics.h"

namespace rlcpp::orchestrator {
namespace {

// Keeps the draws of an evaluation apart from those of training groups.
constexpr std::uint64_t kEvaluationStream = 0xE7A1;
// Ids of evaluation groups: no training group reaches them.
constexpr std::int64_t kFirstGroup = std::int64_t{1} << 40;

}  // namespace

TaskRange evaluated_tasks(std::int64_t num_examples, std::int64_t skip_first, std::int64_t size) {
  const std::int64_t first = std::min(skip_first, size), there = size - first;
  return {first, first + (num_examples < 0 ? there : std::min(there, num_examples))};
}

EvaluationResult evaluate(client::PolicyClient& client, const Environments& environments, std::int64_t env,
                          const EvaluationOptions& options,
                          const std::function<void(std::int64_t, std::int64_t)>& progress) {
  RLCPP_CHECK(client.outstanding() == 0 && options.groups_in_flight > 0);
  const auto start = std::chrono::steady_clock::now();
  EvaluationResult result;
  const TaskRange tasks =
      evaluated_tasks(options.num_examples, options.skip_first, environments.at(env).size());
  const std::int64_t count = tasks.count();
  const auto n = static_cast<std::int32_t>(options.rollouts_per_example);
  const std::uint64_t seed = mix64(
      options.sampling.seed.has_value() ? static_cast<std::uint64_t>(*options.sampling.seed) : options.seed,
      kEvaluationStream);

  Conversations conversations(client, environments, {options.seq_len, options.sampling, options.stop_ids});
  std::map<std::int64_t, Group> done;  // by id, so by example
  std::int64_t next = 0;
  Wait wait(client.name(), fmt::format("{} evaluation groups of '{}'", count, environments.name(env)),
            options.wait.soft, options.wait.hard);
  while (next < count || conversations.groups() > 0) {
    while (next < count && conversations.groups() < options.groups_in_flight) {
      const std::int64_t index = tasks.first + next++;
      Group group = environments.open({env, index});
      if (group.prompt_length() >= options.seq_len) {
        result.too_long += 1;
        continue;
      }
      group.id = kFirstGroup + index;
      std::vector<std::uint64_t> seeds;
      seeds.reserve(static_cast<std::size_t>(n));
      for (std::int32_t sample = 0; sample < n; ++sample) seeds.push_back(rollout_seed(seed, index, sample));
      conversations.start(std::move(group), std::move(seeds));
    }
    if (conversations.groups() == 0) break;
    Conversations::Poll poll = conversations.poll();
    for (Group& group : poll.finished) {
      for (Rollout& rollout : group.rollouts) environments.score(group, rollout);
      done.emplace(group.id, std::move(group));
    }
    if (progress) progress(static_cast<std::int64_t>(done.size()) * n, count * n);
    if (poll.progressed) {
      wait.progress();
    } else if (conversations.groups() > 0) {
      wait.check();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // No page of an evaluation serves a training prompt that begins alike: it would finish earlier, and with
  // oversampling that decides which groups are kept, while a run resumed after the evaluation has no such
  // pages.
  client.set_version(client.version());
  for (auto& [id, group] : done) result.groups.push_back(std::move(group));
  result.reward = summarise(result.groups).reward;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

double pass_at(std::int64_t n, std::int64_t correct, std::int64_t j) {
  if (n - correct < j) return 1.0;
  double all_wrong = 1.0;  // C(n - c, j) / C(n, j) as a product: no overflow
  for (std::int64_t i = n - correct + 1; i <= n; ++i)
    all_wrong *= 1.0 - static_cast<double>(j) / static_cast<double>(i);
  return 1.0 - all_wrong;
}

monitor::Metrics evaluation_metrics(const EvaluationResult& result, const std::string& env_name) {
  monitor::Metrics out;
  const std::string prefix = "eval/" + env_name + "/";
  if (result.groups.empty()) return out;
  const auto k = static_cast<std::int64_t>(result.groups.front().rollouts.size());
  out.set(fmt::format("{}avg@{}", prefix, k), result.reward);
  bool binary = true;
  double longest = 0, total = 0, truncated = 0, count = 0;
  double shortest = static_cast<double>(result.groups.front().rollouts.front().length());
  for (const Group& group : result.groups) {
    for (const Rollout& rollout : group.rollouts) {
      const auto length = static_cast<double>(rollout.length());
      binary = binary && (rollout.reward == 0.0 || rollout.reward == 1.0);
      longest = std::max(longest, length);
      shortest = std::min(shortest, length);
      total += length;
      truncated += rollout.truncated() ? 1 : 0;
      count += 1;
    }
  }
  for (std::int64_t j = 1; binary && j <= k; j *= 2) {
    double sum = 0;
    for (const Group& group : result.groups) {
      const auto correct = std::count_if(group.rollouts.begin(), group.rollouts.end(),
                                         [](const Rollout& r) { return r.reward == 1.0; });
      sum += pass_at(k, correct, j);
    }
    out.set(fmt::format("{}pass@{}", prefix, j), sum / static_cast<double>(result.groups.size()));
  }
  out.set(prefix + "completion_len/avg", total / count);
  out.set(prefix + "completion_len/max", longest);
  out.set(prefix + "completion_len/min", shortest);
  out.set(prefix + "is_truncated/mean", truncated / count);
  out.set(prefix + "time", result.seconds);
  return out;
}

}  // namespace rlcpp::orchestrator
