// A tiny engine with weights of a seed, and requests for it.
#pragma once

#include <memory>
#include <utility>

#include "base/rng.h"
#include "rollout/engine.h"
#include "support.h"

namespace rlcpp::client {

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

inline rollout::GroupRequest random_request(std::int64_t id, Rng& rng) {
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

}  // namespace rlcpp::client
