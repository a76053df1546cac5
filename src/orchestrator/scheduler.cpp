#include "orchestrator/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/wait.h"

namespace rlcpp::orchestrator {
namespace {

// A data set of which this many draws in a row are too long is the wrong one for seq_len.
constexpr int kDrawsBeforeGivingUp = 1000;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Scheduler::Scheduler(client::PolicyClient& client, const Environments& environments, Buffer& buffer,
                     SchedulerOptions options)
    : client_(client),
      environments_(environments),
      buffer_(buffer),
      options_(std::move(options)),
      conversations_(client, environments, {options_.seq_len, options_.sampling, options_.stop_ids}) {
  RLCPP_CHECK(options_.batch_size % options_.rollouts_per_example == 0);
}

Group Scheduler::next_example(Batch& batch) {
  for (int draw = 0; draw < kDrawsBeforeGivingUp; ++draw) {
    const Example example = buffer_.sample();
    Group group = environments_.open(example);
    if (group.prompt_length() < options_.seq_len) return group;
    buffer_.exclude(example);
    batch.too_long += 1;
    if (!buffer_.all_excluded()) continue;
    throw bad_input("no prompt of the environments has room for a completion",
                    fmt::format("orchestrator.seq_len is {} tokens, this one alone has {}", options_.seq_len,
                                group.prompt_length()),
                    "raise it, or give shorter prompts");
  }
  throw bad_input(fmt::format("{} prompts in a row have no room for a completion", kDrawsBeforeGivingUp),
                  fmt::format("orchestrator.seq_len is {} tokens", options_.seq_len),
                  "raise it, or give shorter prompts");
}

// Keeps `oversampling_factor` groups in flight for each that is still missing.
void Scheduler::refill(std::int64_t missing_groups, Batch& batch) {
  const auto wanted = static_cast<std::int64_t>(
      std::ceil(options_.oversampling_factor * static_cast<double>(missing_groups)));
  while (conversations_.groups() < wanted) {
    Group group = next_example(batch);
    group.id = next_group_++;
    const std::uint64_t seed = options_.sampling.seed.has_value()
                                   ? static_cast<std::uint64_t>(*options_.sampling.seed)
                                   : options_.seed;
    std::vector<std::uint64_t> seeds;
    for (std::int64_t sample = 0; sample < options_.rollouts_per_example; ++sample)
      seeds.push_back(rollout_seed(seed, group.id, static_cast<std::int32_t>(sample)));
    conversations_.start(std::move(group), std::move(seeds));
  }
}

void Scheduler::finish(Group group, Batch& batch) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> rewards;
  for (Rollout& rollout : group.rollouts) {
    if (!options_.skip_verification) {
      const auto scoring = std::chrono::steady_clock::now();
      environments_.score(group, rollout);
      rollout.scoring_ms = 1e3 * seconds_since(scoring);
    }
    rewards.push_back(rollout.reward);
  }
  batch.score_seconds += seconds_since(start);
  const bool keep = buffer_.keeps(rewards);
  scored_.emplace(group.id, Scored{group.example, std::move(rewards)});
  if (keep) {
    batch.groups.push_back(std::move(group));
  } else {
    batch.dropped_groups += 1;
  }
}

Scheduler::Batch Scheduler::collect(const std::function<void(std::int64_t, std::int64_t)>& progress) {
  Batch batch;
  const std::int64_t groups = options_.batch_size / options_.rollouts_per_example;
  Wait wait(client_.name(), fmt::format("the rollouts of {} groups", groups), options_.wait.soft,
            options_.wait.hard);
  const auto accepted = [&] { return static_cast<std::int64_t>(batch.groups.size()); };
  while (accepted() < groups) {
    refill(groups - accepted(), batch);
    Conversations::Poll poll = conversations_.poll();
    for (Group& finished : poll.finished) {
      // Whole batches only: what completes in the same poll after the last needed group is cancelled like the
      // rest.
      if (accepted() == groups) {
        batch.cancelled_rollouts += static_cast<std::int64_t>(finished.rollouts.size());
      } else {
        finish(std::move(finished), batch);
      }
    }
    if (progress) progress(accepted() * options_.rollouts_per_example, options_.batch_size);
    if (poll.progressed) {
      wait.progress();
    } else if (accepted() < groups) {
      wait.check();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  batch.cancelled_rollouts += conversations_.abort_all(options_.wait);
  for (const auto& [id, scored] : std::exchange(scored_, {})) buffer_.update(scored.example, scored.rewards);
  // By number rather than by time of completion: the batch then does not depend on how the engine schedules.
  std::sort(batch.groups.begin(), batch.groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
  return batch;
}

}  // namespace rlcpp::orchestrator
