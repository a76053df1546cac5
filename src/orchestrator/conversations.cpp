#include "orchestrator/conversations.h"

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::orchestrator {
namespace {

// Ids of requests for later turns: no group reaches them.
constexpr std::int64_t kFirstRequest = std::int64_t{1} << 50;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void append(Rollout& rollout, rollout::SampledSequence&& sequence) {
  RLCPP_CHECK(sequence.logprobs.size() == sequence.ids.size() &&
              sequence.versions.size() == sequence.ids.size());
  rollout.ids.insert(rollout.ids.end(), sequence.ids.begin(), sequence.ids.end());
  rollout.logprobs.insert(rollout.logprobs.end(), sequence.logprobs.begin(), sequence.logprobs.end());
  rollout.versions.insert(rollout.versions.end(), sequence.versions.begin(), sequence.versions.end());
  rollout.finish = sequence.finish;
  rollout.cut = rollout.cut || sequence.finish == rollout::FinishReason::kLength;
}

}  // namespace

std::uint64_t rollout_seed(std::uint64_t seed, std::int64_t group, std::int32_t sample) {
  return mix64(mix64(seed, static_cast<std::uint64_t>(group)), static_cast<std::uint64_t>(sample));
}

std::uint64_t turn_seed(std::uint64_t rollout_seed, std::int64_t turn) {
  return turn == 0 ? rollout_seed : mix64(rollout_seed, static_cast<std::uint64_t>(turn));
}

Rollout make_rollout(rollout::SampledSequence sequence, std::int64_t rollouts_per_example) {
  Rollout out;
  out.id = sequence.group * rollouts_per_example + sequence.sample;
  out.sample = sequence.sample;
  append(out, std::move(sequence));
  return out;
}

Conversations::Conversations(client::PolicyClient& client, const Environments& environments,
                             ConversationOptions options)
    : client_(client),
      environments_(environments),
      options_(std::move(options)),
      next_request_(kFirstRequest) {}

rollout::GroupRequest Conversations::request(std::int64_t id, std::vector<std::int32_t> prompt) const {
  rollout::GroupRequest out = options_.sampling.request(options_.seq_len);
  const std::int64_t room = options_.seq_len - static_cast<std::int64_t>(prompt.size());
  out.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(out.max_tokens, room));
  out.id = id;
  out.prompt = std::move(prompt);
  out.stop_ids = options_.stop_ids;
  return out;
}

void Conversations::start(Group group, std::vector<std::uint64_t> seeds) {
  RLCPP_CHECK(group.id < kFirstRequest && !seeds.empty());
  InFlight flight;
  flight.open = seeds.size();
  flight.submitted = std::chrono::steady_clock::now();
  for (const std::uint64_t seed : seeds) flight.talks.push_back({{}, seed});
  rollout::GroupRequest first = request(group.id, group.prompt_ids);
  first.n = static_cast<std::int32_t>(seeds.size());
  first.seeds = std::move(seeds);
  client_.submit(std::move(first));
  const std::int64_t id = group.id;
  flight.group = std::move(group);
  groups_.emplace(id, std::move(flight));
}

bool Conversations::go_on(InFlight& flight, Talk& talk) {
  Rollout& rollout = talk.rollout;
  const Group& group = flight.group;
  auto answer = environments_.answer(group, rollout);
  if (!answer.has_value()) return false;
  std::vector<std::int32_t>& ids = answer->tokens.ids;
  std::vector<std::int32_t>& message = answer->tokens.message;
  RLCPP_CHECK(message.size() == ids.size());
  // The policy has ended its turn itself.
  const bool stopped = std::find(options_.stop_ids.begin(), options_.stop_ids.end(), rollout.ids.back()) !=
                       options_.stop_ids.end();
  if (stopped && !ids.empty() && ids.front() == rollout.ids.back()) {
    ids.erase(ids.begin());
    message.erase(message.begin());
  }
  const std::int64_t used = group.prompt_length() + rollout.length() + static_cast<std::int64_t>(ids.size());
  if (used >= options_.seq_len) {
    rollout.cut = true;
    return false;
  }
  Reply reply;
  reply.begin = rollout.length();
  rollout.ids.insert(rollout.ids.end(), ids.begin(), ids.end());
  reply.end = rollout.length();
  reply.messages = std::move(answer->messages);
  reply.message = std::move(message);
  rollout.logprobs.resize(rollout.ids.size(), 0.0F);
  rollout.versions.resize(rollout.ids.size(), rollout.versions.back());
  rollout.replies.push_back(std::move(reply));

  std::vector<std::int32_t> prompt = group.prompt_ids;
  prompt.insert(prompt.end(), rollout.ids.begin(), rollout.ids.end());
  rollout::GroupRequest next = request(next_request_++, std::move(prompt));
  next.seeds = {turn_seed(talk.seed, rollout.turns() - 1)};
  later_turns_.emplace(next.id, std::pair(group.id, rollout.sample));
  client_.submit(std::move(next));
  return true;
}

void Conversations::take(rollout::SampledSequence sequence, Poll& out) {
  RLCPP_CHECK(sequence.finish != rollout::FinishReason::kAborted && !sequence.ids.empty());
  std::int64_t group = sequence.group;
  std::int32_t sample = sequence.sample;
  if (const auto later = later_turns_.find(group); later != later_turns_.end()) {
    std::tie(group, sample) = later->second;
    later_turns_.erase(later);
  }
  const auto place = groups_.find(group);
  RLCPP_CHECK(place != groups_.end());
  InFlight& flight = place->second;
  Talk& talk = flight.talks.at(static_cast<std::size_t>(sample));
  Rollout& rollout = talk.rollout;
  std::string text = environments_.codec().completion_text(sequence.ids);
  if (rollout.responses.empty()) {
    rollout = make_rollout(std::move(sequence), static_cast<std::int64_t>(flight.talks.size()));
  } else {
    append(rollout, std::move(sequence));
  }
  rollout.responses.push_back(std::move(text));
  if (go_on(flight, talk)) return;
  rollout.generation_ms = 1e3 * seconds_since(flight.submitted);
  if (--flight.open > 0) return;
  for (Talk& each : flight.talks) flight.group.rollouts.push_back(std::move(each.rollout));
  out.finished.push_back(std::move(flight.group));
  groups_.erase(place);
}

Conversations::Poll Conversations::poll() {
  client::PolicyClient::Poll poll = client_.poll();
  Poll out;
  out.progressed = poll.progressed;
  for (rollout::SampledSequence& sequence : poll.finished) take(std::move(sequence), out);
  if (groups_.empty()) next_request_ = kFirstRequest;
  return out;
}

std::int64_t Conversations::abort_all(const client::WaitLimits& wait) {
  std::int64_t rollouts = 0;
  for (const auto& [id, flight] : groups_) {
    client_.abort(id);
    rollouts += static_cast<std::int64_t>(flight.talks.size());
  }
  for (const auto& [id, whose] : later_turns_) client_.abort(id);
  if (!groups_.empty()) client::collect_all(client_, wait);
  groups_.clear();
  later_turns_.clear();
  next_request_ = kFirstRequest;
  return rollouts;
}

}  // namespace rlcpp::orchestrator
