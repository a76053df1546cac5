// The in-process policy: what comes out of the client is what the engine alone gives.
#include "client/engine_client.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/rng.h"
#include "support.h"

namespace rlcpp::client {
namespace {

struct Policy {
  explicit Policy(std::uint64_t seed) {
    const model::ModelConfig config = model::parse_config(
        R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 50, "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
            "initializer_range": 0.2, "tie_word_embeddings": true})",
        "test config");
    const rollout::EngineConfig numbers{
        .max_sequences = 6, .max_batch_tokens = 16, .page_size = 4, .num_pages = 20, .max_model_len = 32};
    ops::Context ctx;
    ctx.pool = &pool;
    MemoryPlan plan;
    const auto weights = model::plan_weights(config, plan, MemoryUse::kWeights, "weights", DType::kF32);
    const auto packed = model::plan_packed(config, ctx, plan);
    const auto rope = model::plan_rope(config, plan, 32);
    const auto regions = rollout::Engine::plan(ctx, config, numbers, plan);
    arena = std::make_unique<Arena>(std::move(plan), Device{});
    arena->poison_all();
    const model::WeightSet values = model::make_weight_set(config, *arena, weights);
    const model::WeightSet packed_values = model::make_packed_set(config, *arena, packed);
    model::init_random(config, values, seed);
    model::pack_all(ctx, packed_values, values);
    engine = std::make_unique<rollout::Engine>(ctx, config, numbers, *arena, regions, values, packed_values,
                                               model::make_rope(config, *arena, rope), nullptr);
  }
  ThreadPool pool{1};
  std::unique_ptr<Arena> arena;
  std::unique_ptr<rollout::Engine> engine;
};

rollout::GroupRequest random_request(std::int64_t id, Rng& rng) {
  rollout::GroupRequest request;
  request.id = id;
  for (std::uint64_t i = 0; i < 1 + rng.below(12); ++i)
    request.prompt.push_back(static_cast<std::int32_t>(rng.below(50)));
  request.n = static_cast<std::int32_t>(1 + rng.below(4));
  request.max_tokens = static_cast<std::int32_t>(1 + rng.below(15));
  request.stop_ids = {3};
  for (std::int32_t i = 0; i < request.n; ++i) request.seeds.push_back(rng.next_u64());
  return request;
}

TEST(EngineClient, GivesWhatTheEngineGives) {
  Rng rng(test::fresh_seed());
  const std::uint64_t seed = rng.next_u64();
  Policy alone(seed), served(seed);
  EngineClient client(*served.engine);
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

TEST(EngineClient, AbortAndVersionReachTheEngine) {
  Rng rng(test::fresh_seed());
  Policy policy(1);
  EngineClient client(*policy.engine);
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
