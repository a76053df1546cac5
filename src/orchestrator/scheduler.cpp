#include "orchestrator/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/rng.h"
#include "base/wait.h"

namespace rlcpp::orchestrator {
namespace {

// A data set of which this many draws in a row are too long is the wrong one for seq_len.
constexpr int kDrawsBeforeGivingUp = 1000;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::uint64_t rollout_seed(std::uint64_t seed, std::int64_t group, std::int32_t sample) {
  return mix64(mix64(seed, static_cast<std::uint64_t>(group)), static_cast<std::uint64_t>(sample));
}

Rollout make_rollout(rollout::SampledSequence sequence, std::int64_t rollouts_per_example) {
  RLCPP_CHECK(sequence.logprobs.size() == sequence.ids.size() &&
              sequence.versions.size() == sequence.ids.size());
  Rollout out;
  out.id = sequence.group * rollouts_per_example + sequence.sample;
  out.sample = sequence.sample;
  out.ids = std::move(sequence.ids);
  out.logprobs = std::move(sequence.logprobs);
  out.versions = std::move(sequence.versions);
  out.finish = sequence.finish;
  return out;
}

Scheduler::Scheduler(client::PolicyClient& client, const Environments& environments, Buffer& buffer,
                     SchedulerOptions options)
    : client_(client), environments_(environments), buffer_(buffer), options_(std::move(options)) {
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
  const auto wanted =
      static_cast<std::size_t>(std::ceil(options_.oversampling_factor * static_cast<double>(missing_groups)));
  while (in_flight_.size() < wanted) {
    Group group = next_example(batch);
    group.id = next_group_++;
    rollout::GroupRequest request = options_.sampling.request(options_.seq_len);
    const std::int64_t room = options_.seq_len - group.prompt_length();
    request.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(request.max_tokens, room));
    request.id = group.id;
    request.prompt = group.prompt_ids;
    request.n = static_cast<std::int32_t>(options_.rollouts_per_example);
    request.stop_ids = options_.stop_ids;
    const std::uint64_t seed = options_.sampling.seed.has_value()
                                   ? static_cast<std::uint64_t>(*options_.sampling.seed)
                                   : options_.seed;
    for (std::int32_t sample = 0; sample < request.n; ++sample)
      request.seeds.push_back(rollout_seed(seed, group.id, sample));
    client_.submit(std::move(request));
    const std::int64_t id = group.id;
    const auto samples = static_cast<std::size_t>(options_.rollouts_per_example);
    in_flight_.emplace(
        id, InFlight{std::move(group), std::chrono::steady_clock::now(), std::vector<double>(samples)});
  }
}

void Scheduler::finish(client::FinishedGroup finished, Batch& batch) {
  const auto place = in_flight_.find(finished.id);
  RLCPP_CHECK(place != in_flight_.end());
  Group group = std::move(place->second.group);
  const std::vector<double> generation_ms = std::move(place->second.generation_ms);
  in_flight_.erase(place);
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> rewards;
  for (rollout::SampledSequence& sequence : finished.samples) {
    RLCPP_CHECK(sequence.finish != rollout::FinishReason::kAborted);
    Rollout rollout = make_rollout(std::move(sequence), options_.rollouts_per_example);
    rollout.generation_ms = generation_ms.at(static_cast<std::size_t>(rollout.sample));
    if (options_.skip_verification) {
      rollout.text = environments_.codec().completion_text(rollout.ids);
    } else {
      const auto scoring = std::chrono::steady_clock::now();
      environments_.score(group, rollout);
      rollout.scoring_ms = 1e3 * seconds_since(scoring);
    }
    rewards.push_back(rollout.reward);
    group.rollouts.push_back(std::move(rollout));
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

void Scheduler::abort_rest(Batch& batch) {
  if (in_flight_.empty()) return;
  for (const auto& [id, flight] : in_flight_) client_.abort(id);
  client::collect_all(client_, options_.wait);
  batch.cancelled_rollouts += static_cast<std::int64_t>(in_flight_.size()) * options_.rollouts_per_example;
  in_flight_.clear();
}

Scheduler::Batch Scheduler::collect(const std::function<void(std::int64_t, std::int64_t)>& progress) {
  Batch batch;
  const std::int64_t groups = options_.batch_size / options_.rollouts_per_example;
  client::GroupCollector collector;
  Wait wait(client_.name(), fmt::format("the rollouts of {} groups", groups), options_.wait.soft,
            options_.wait.hard);
  const auto accepted = [&] { return static_cast<std::int64_t>(batch.groups.size()); };
  while (accepted() < groups) {
    const std::int64_t first = next_group_;
    refill(groups - accepted(), batch);
    for (std::int64_t id = first; id < next_group_; ++id) {
      collector.expect(id, static_cast<std::int32_t>(options_.rollouts_per_example));
    }
    client::PolicyClient::Poll poll = client_.poll();
    for (rollout::SampledSequence& sequence : poll.finished) {
      InFlight& flight = in_flight_.at(sequence.group);
      flight.generation_ms.at(static_cast<std::size_t>(sequence.sample)) =
          1e3 * seconds_since(flight.submitted);
      collector.add(std::move(sequence));
    }
    for (client::FinishedGroup& finished : collector.take_complete()) {
      // Whole batches only: what completes in the same poll after the last needed group is cancelled like the
      // rest.
      if (accepted() == groups) {
        in_flight_.erase(finished.id);
        batch.cancelled_rollouts += static_cast<std::int64_t>(finished.samples.size());
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
  abort_rest(batch);
  for (const auto& [id, scored] : std::exchange(scored_, {})) buffer_.update(scored.example, scored.rewards);
  // By number rather than by time of completion: the batch then does not depend on how the engine schedules.
  std::sort(batch.groups.begin(), batch.groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
  return batch;
}

}  // namespace rlcpp::orchestrator
