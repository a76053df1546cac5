// Random rows, and a model of two layers with its spare.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "support.h"
#include "tensor/copy.h"
#include "transport/files.h"

namespace rlcpp::transport {

inline data::MicroBatch random_row(Rng& rng, bool rl, bool teacher, bool temperatures) {
  data::MicroBatch row;
  for (std::uint64_t d = 1 + rng.below(5); d > 0; --d) {
    data::Sample sample;
    const std::size_t length = 1 + rng.below(40);
    sample.index = static_cast<std::int64_t>(rng.below(1U << 30U));
    for (std::size_t t = 0; t < length; ++t) {
      sample.ids.push_back(static_cast<std::int32_t>(rng.below(150000)));
      sample.mask.push_back(t > 0 && rng.below(2) == 0 ? 1 : 0);
      if (rl) {
        sample.inference_logprobs.push_back(-std::abs(rng.normal()));
        sample.advantages.push_back(rng.normal());
      }
      if (teacher) sample.teacher_logprobs.push_back(-std::abs(rng.normal()));
    }
    if (rl && rng.below(3) == 0) {
      for (std::size_t t = 0; t < length; ++t)
        sample.ce_weights.push_back(t > 0 && sample.mask[t] == 0 && rng.below(2) == 0 ? rng.uniform() + 0.1F
                                                                                      : 0.0F);
    }
    if (temperatures) sample.temperature = 0.5F + static_cast<float>(d);
    row.append(sample);
  }
  return row;
}

inline RolloutBatch random_batch(Rng& rng, std::int64_t step, std::int64_t rank = 0, std::int64_t ranks = 1) {
  RolloutBatch out;
  out.run = "run";
  out.step = step;
  out.rank = rank;
  out.ranks = ranks;
  out.oldest_version = step - 2;
  out.newest_version = step - 1;
  if (rng.below(2) == 0) out.arithmetic = "exact on cpu";
  out.policy = static_cast<std::uint32_t>(rng.below(1ULL << 32U));
  out.tokens = static_cast<std::int64_t>(rng.below(100000));
  out.samples = static_cast<std::int64_t>(rng.below(1000));
  for (std::uint64_t i = rng.below(6); i > 0; --i)
    out.micro_batches.push_back(random_row(rng, rng.below(4) > 0, rng.below(2) == 0, rng.below(2) == 0));
  return out;
}

inline void expect_equal(const RolloutBatch& got, const RolloutBatch& expected) {
  EXPECT_EQ(got.run, expected.run);
  EXPECT_EQ(got.step, expected.step);
  EXPECT_EQ(got.rank, expected.rank);
  EXPECT_EQ(got.ranks, expected.ranks);
  EXPECT_EQ(got.oldest_version, expected.oldest_version);
  EXPECT_EQ(got.newest_version, expected.newest_version);
  EXPECT_EQ(got.policy, expected.policy);
  EXPECT_EQ(got.arithmetic, expected.arithmetic);
  EXPECT_EQ(got.tokens, expected.tokens);
  EXPECT_EQ(got.samples, expected.samples);
  ASSERT_EQ(got.micro_batches.size(), expected.micro_batches.size());
  for (std::size_t i = 0; i < expected.micro_batches.size(); ++i) {
    const data::MicroBatch &a = got.micro_batches[i], &b = expected.micro_batches[i];
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(a.positions, b.positions);
    EXPECT_EQ(a.cu_seqlens, b.cu_seqlens);
    EXPECT_EQ(a.mask, b.mask);
    EXPECT_EQ(a.inference_logprobs, b.inference_logprobs);
    EXPECT_EQ(a.advantages, b.advantages);
    EXPECT_EQ(a.teacher_logprobs, b.teacher_logprobs);
    EXPECT_EQ(a.temperatures, b.temperatures);
    EXPECT_EQ(a.ce_weights, b.ce_weights);
    EXPECT_EQ(a.sample_index, b.sample_index);
    EXPECT_EQ(a.rl, b.rl);
  }
}

inline WaitOptions short_wait(int hard_ms = 50) {
  WaitOptions out;
  out.soft = std::chrono::milliseconds(10);
  out.hard = std::chrono::milliseconds(hard_ms);
  out.poll = std::chrono::milliseconds(1);
  return out;
}

// Weights that are published, and two places to load them into; all in one arena that was poisoned.
struct Policy {
  explicit Policy(std::int64_t intermediate = 40) {
    config.family = model::Family::kQwen3;
    config.vocab_size = 37;
    config.hidden_size = 24;
    config.intermediate_size = intermediate;
    config.num_layers = 2;
    config.num_heads = 3;
    config.num_kv_heads = 1;
    config.head_dim = 8;
    config.max_position = 64;
    config.qk_norm = true;
    config.tied = true;
    MemoryPlan plan;
    const auto a = model::plan_weights(config, plan, MemoryUse::kWeights, "own.", DType::kF32);
    const auto b = model::plan_weights(config, plan, MemoryUse::kWeights, "spare.", DType::kF32);
    const auto c = model::plan_weights(config, plan, MemoryUse::kWeights, "live.", DType::kF32);
    arena = std::make_unique<Arena>(plan, Device{});
    arena->poison_all();
    own = model::make_weight_set(config, *arena, a);
    spare = model::make_weight_set(config, *arena, b);
    live = model::make_weight_set(config, *arena, c);
  }
  void fill(std::uint64_t seed) { model::init_random(config, own, seed); }
  static std::vector<float> values(const model::WeightSet& set) {
    std::vector<float> all;
    for (const Tensor& t : set.flat) {
      const std::vector<float> part = to_floats(t);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  model::ModelConfig config;
  std::unique_ptr<Arena> arena;
  model::WeightSet own, spare, live;
  ThreadPool pool{2};
};

}  // namespace rlcpp::transport
