// Conversations in flight: asks the policy, lets the environment answer, asks again, until each rollout of a
// group has ended. An environment of one turn is a conversation of one.
//
// The prompt of a later turn is the prompt before it, the response as it was sampled, and what the chat
// template writes for the environment's answer (data/continuation.h). So a rollout is one sequence, whose
// later prompts the engine's prefix cache mostly holds already. A response that was cut at its limit is
// closed by the template like any other, and the conversation goes on; if seq_len has no room for the answer
// and one more token, it ends there, truncated.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "client/policy_client.h"
#include "orchestrator/environments.h"

namespace rlcpp::orchestrator {

// Seed of the first response of one rollout: a function of these three alone.
std::uint64_t rollout_seed(std::uint64_t seed, std::int64_t group, std::int32_t sample);
// Of a later one (turn counts from 0): of that seed and the turn.
std::uint64_t turn_seed(std::uint64_t rollout_seed, std::int64_t turn);

// Fills a rollout from what the client returned for its first turn; responses are not yet decoded.
Rollout make_rollout(rollout::SampledSequence sequence, std::int64_t rollouts_per_example);

struct ConversationOptions {
  std::int64_t seq_len = 2048;  // prompt and completion
  SamplingSection sampling;     // max_tokens: of a turn
  std::vector<std::int32_t> stop_ids;
};

class Conversations {
 public:
  // Both outlive it. Nobody else submits to the client while something is in flight.
  Conversations(client::PolicyClient& client, const Environments& environments, ConversationOptions options);

  // Begins one rollout a seed. The prompt leaves room for a token, and the group's id is below 2^50.
  void start(Group group, std::vector<std::uint64_t> seeds);

  struct Poll {
    std::vector<Group>
        finished;  // with their rollouts by sample, not scored, in the order they were completed
    bool progressed = false;
  };
  Poll poll();  // as PolicyClient::poll

  std::int64_t groups() const { return static_cast<std::int64_t>(groups_.size()); }  // in flight
  // Ends all that is in flight; gives the number of rollouts that were not finished.
  std::int64_t abort_all(const client::WaitLimits& wait);

 private:
  struct Talk {
    Rollout rollout;
    std::uint64_t seed = 0;
  };
  struct InFlight {
    Group group;
    std::chrono::steady_clock::time_point submitted;
    std::vector<Talk> talks;  // by sample
    std::size_t open = 0;
  };
  rollout::GroupRequest request(std::int64_t id, std::vector<std::int32_t> prompt) const;
  // True: the rollout goes on.
  bool go_on(InFlight& flight, Talk& talk);
  void take(rollout::SampledSequence sequence, Poll& out);

  client::PolicyClient& client_;
  const Environments& environments_;
  ConversationOptions options_;
  std::map<std::int64_t, InFlight> groups_;                                    // by id
  std::map<std::int64_t, std::pair<std::int64_t, std::int32_t>> later_turns_;  // request: group and sample
  std::int64_t next_request_;
};

}  // namespace rlcpp::orchestrator
