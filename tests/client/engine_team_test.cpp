// Several engines as one policy: the same answers as one, whoever gives them.
#include "client/engine_team.h"

#include <algorithm>
#include <exception>
#include <map>
#include <thread>

#include "base/error.h"
#include "client/tiny_policy.h"

namespace rlcpp::client {
namespace {

// Side by side, on threads of their own; the first error is thrown.
OnEachEngine on_threads(std::size_t count) {
  return [count](const std::function<void(std::size_t)>& body) {
    std::vector<std::exception_ptr> errors(count);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i) {
      threads.emplace_back([&, i] {
        try {
          body(i);
        } catch (...) {
          errors[i] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors) {
      if (error != nullptr) std::rethrow_exception(error);
    }
  };
}

struct Team {
  Team(std::size_t count, std::uint64_t seed) {
    std::vector<rollout::Engine*> engines;
    for (std::size_t i = 0; i < count; ++i) {
      policies.push_back(std::make_unique<Policy>(seed));
      engines.push_back(policies.back()->engine.get());
    }
    client = std::make_unique<EngineTeam>(std::move(engines), on_threads(count));
  }
  std::vector<std::unique_ptr<Policy>> policies;
  std::unique_ptr<EngineTeam> client;
};

TEST(EngineTeam, AnswersDoNotDependOnTheNumberOfEngines) {
  Rng rng(test::fresh_seed());
  const std::uint64_t seed = rng.next_u64();
  std::vector<rollout::GroupRequest> requests;
  std::int64_t samples = 0;
  for (std::int64_t id = 0; id < 20; ++id) {
    requests.push_back(random_request(id, rng));
    samples += requests.back().n;
  }
  std::map<std::pair<std::int64_t, std::int32_t>, rollout::SampledSequence> first;
  for (const std::size_t count : {1U, 2U, 3U}) {
    Team team(count, seed);
    for (const rollout::GroupRequest& request : requests) team.client->submit(request);
    EXPECT_EQ(team.client->outstanding(), samples);
    for (rollout::SampledSequence& got : collect_all(*team.client)) {
      const auto [place, added] = first.try_emplace({got.group, got.sample}, got);
      EXPECT_EQ(got.ids, place->second.ids) << count << " engines, seed " << rng.seed();
      EXPECT_EQ(got.logprobs, place->second.logprobs) << count << " engines, seed " << rng.seed();
      EXPECT_EQ(got.finish, place->second.finish);
      EXPECT_EQ(added, count == 1);
    }
    EXPECT_EQ(team.client->outstanding(), 0);
    EXPECT_FALSE(team.client->poll().progressed);
    EXPECT_EQ(first.size(), static_cast<std::size_t>(samples));
    // Each had its own share: that of the ids that fall to it.
    for (std::size_t i = 0; i < count; ++i) {
      std::int64_t sampled = 0;
      for (const auto& [key, sequence] : first) {
        if (static_cast<std::size_t>(key.first) % count == i)
          sampled += static_cast<std::int64_t>(sequence.ids.size());
      }
      EXPECT_EQ(team.policies[i]->engine->stats().sampled_tokens, sampled);
    }
  }
}

TEST(EngineTeam, AbortAndVersionReachTheEngines) {
  Rng rng(test::fresh_seed());
  Team team(2, 1);
  team.client->set_version(5);
  EXPECT_EQ(team.client->version(), 5);
  std::int64_t samples = 0;
  for (std::int64_t id = 0; id < 4; ++id) {
    rollout::GroupRequest request = random_request(id, rng);
    request.stop_ids.clear();
    request.max_tokens = 12;
    samples += request.n;
    team.client->submit(request);
    EXPECT_THROW(team.client->submit(request), Error);  // refused, and not counted
    EXPECT_EQ(team.client->outstanding(), samples);
  }
  EXPECT_TRUE(team.client->poll().progressed);
  team.client->abort(2);
  team.client->abort(3);
  team.client->abort(99);  // nobody
  std::int64_t got = 0;
  for (const rollout::SampledSequence& sequence : collect_all(*team.client)) {
    const bool aborted = sequence.group >= 2;
    EXPECT_EQ(sequence.finish, aborted ? rollout::FinishReason::kAborted : rollout::FinishReason::kLength);
    for (const std::int64_t version : sequence.versions) EXPECT_EQ(version, 5);
    ++got;
  }
  EXPECT_EQ(got, samples);
  EXPECT_EQ(team.client->outstanding(), 0);
}

}  // namespace
}  // namespace rlcpp::client
