// The in-process policy: what comes out of the client is what the engine alone gives.
#include "client/engine_team.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "client/tiny_policy.h"

namespace rlcpp::client {
namespace {

TEST(OneEngine, GivesWhatTheEngineGives) {
  Rng rng(test::fresh_seed());
  const std::uint64_t seed = rng.next_u64();
  Policy alone(seed), served(seed);
  EngineTeam client(*served.engine);
  GroupCollector collector;
  std::vector<rollout::GroupRequest> requests;
  std::int64_t samples = 0;
  for (std::int64_t id = 0; id < 12; ++id) {
    requests.push_back(random_request(id, rng));
    client.submit(requests.back());
    collector.expect(id, requests.back().n);
    samples += requests.back().n;
    EXPECT_EQ(client.outstanding(), samples);
  }
  for (rollout::SampledSequence& sequence : collect_all(client)) collector.add(std::move(sequence));
  EXPECT_EQ(client.outstanding(), 0);
  EXPECT_FALSE(client.poll().progressed);
  const std::vector<FinishedGroup> groups = collector.take_complete();
  ASSERT_EQ(groups.size(), requests.size());
  for (const FinishedGroup& group : groups) {
    alone.engine->submit(requests[static_cast<std::size_t>(group.id)]);
    std::vector<rollout::SampledSequence> expected = alone.engine->run();
    std::ranges::sort(expected, {}, &rollout::SampledSequence::sample);
    ASSERT_EQ(group.samples.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(group.samples[i].ids, expected[i].ids) << "seed " << rng.seed();
      EXPECT_EQ(group.samples[i].logprobs, expected[i].logprobs);
      EXPECT_EQ(group.samples[i].finish, expected[i].finish);
    }
  }
}

TEST(OneEngine, AbortAndVersionReachTheEngine) {
  Rng rng(test::fresh_seed());
  Policy policy(1);
  EngineTeam client(*policy.engine);
  client.set_version(5);
  EXPECT_EQ(client.version(), 5);
  rollout::GroupRequest request = random_request(1, rng);
  request.stop_ids.clear();
  request.max_tokens = 10;
  client.submit(request);
  EXPECT_THROW(client.submit(request), Error);  // refused, and not counted
  EXPECT_EQ(client.outstanding(), request.n);
  EXPECT_TRUE(client.poll().progressed);
  client.abort(1);
  const std::vector<rollout::SampledSequence> got = collect_all(client);
  ASSERT_EQ(got.size(), static_cast<std::size_t>(request.n));
  for (const rollout::SampledSequence& sequence : got) {
    EXPECT_EQ(sequence.finish, rollout::FinishReason::kAborted);
    for (const std::int64_t version : sequence.versions) EXPECT_EQ(version, 5);
  }
  EXPECT_EQ(client.outstanding(), 0);
}

}  // namespace
}  // namespace rlcpp::client
