// The promise of exact mode between the real engine and the real trainer: every sampled token's
// log-probability is the one that the trainer computes from its packed rows, bit for bit, whatever the engine
// did besides; and it stays so after updates of the shared weights.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "client/engine_team.h"
#include "model/config.h"
#include "orchestrator/batch.h"
#include "orchestrator/evaluation.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/stub_policy.h"
#include "support.h"
#include "train/trainer.h"

namespace rlcpp::orchestrator {
namespace {

using rollout::EngineConfig;
using rollout::GroupRequest;
using rollout::SampledSequence;

constexpr std::int64_t kPositions = 192;

enum class Kind { kQwen3, kQwen2, kLlama };

struct Variant {
  Kind kind;
  bool lora;  // adapters are trained, the model is frozen
};

// Random adapters: one target at least.
void add_adapters(model::ModelConfig& config, Rng& rng) {
  config.adapters.rank = static_cast<std::int64_t>(1 + rng.below(9));
  config.adapters.alpha = static_cast<double>(1 + rng.below(20));
  for (bool& target : config.adapters.targets) target = rng.below(2) == 0;
  config.adapters.targets[rng.below(config.adapters.targets.size())] = true;
}

model::ModelConfig random_model(Kind kind, Rng& rng) {
  const char* const names[][2] = {
      {"Qwen3ForCausalLM", "qwen3"}, {"Qwen2ForCausalLM", "qwen2"}, {"LlamaForCausalLM", "llama"}};
  const auto [architecture, type] = names[static_cast<int>(kind)];
  const std::uint64_t kv_heads = 1 + rng.below(2), heads = kv_heads * (1 + rng.below(3));
  const std::uint64_t head_dim = 8 * (1 + rng.below(3));
  const std::uint64_t hidden = kind == Kind::kQwen3 ? 8 * (2 + rng.below(5)) : heads * head_dim;
  std::string text = fmt::format(
      R"({{"architectures": ["{}"], "model_type": "{}", "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
      "num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {}, "max_position_embeddings": {},
      "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.25,
      "tie_word_embeddings": {})",
      architecture, type, 30 + rng.below(400), hidden, 8 * (1 + rng.below(8)), 1 + rng.below(3), heads,
      kv_heads, kPositions, rng.below(2) == 0);
  if (kind == Kind::kQwen3) text += fmt::format(R"(, "head_dim": {})", head_dim);
  if (kind == Kind::kLlama)
    text += fmt::format(R"(, "attention_bias": {0}, "mlp_bias": {0})", rng.below(2) == 0);
  switch (rng.below(3)) {
    case 0:
      text +=
          R"(, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48})";
      break;
    case 1:
      text +=
          R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32})";
      break;
    default:
      break;
  }
  return model::parse_config(text + "}", "random model");
}

// Weights, and two trainers of them that differ in everything that must not matter.
struct Policy {
  Policy(const Variant& variant, Rng& rng, std::int64_t row_tokens)
      : config(random_model(variant.kind, rng)),
        pool(1),
        other_pool(3),
        ctx(ops::make_context(Device{}, pool)) {
    if (variant.lora) add_adapters(config, rng);
    MemoryPlan plan;
    const auto weight_regions = model::plan_weights(config, plan, MemoryUse::kWeights, "w.", DType::kF32);
    const auto packed_regions = model::plan_packed(config, ctx, plan);
    const auto rope_regions = model::plan_rope(config, plan, kPositions);
    train::TrainerOptions options;
    options.max_tokens = row_tokens;
    options.optim.lr = 3e-3;
    options.scheduler.warmup_steps = 0;
    options.head_chunk = static_cast<std::int64_t>(1 + rng.below(100));
    train::TrainerOptions others = options;
    others.head_chunk = 256;
    others.recompute = rng.below(2) == 0 ? model::Recompute::kFull : model::Recompute::kSelective;
    ops::Context other_ctx = ctx;
    other_ctx.pool = &other_pool;
    const auto adapter_regions = model::plan_adapters(config, ctx, plan);
    const auto regions = train::Trainer::plan(ctx, config, options, plan);
    const auto other_regions = train::Trainer::plan(other_ctx, config, others, plan);
    arena = std::make_unique<Arena>(plan, Device{});
    arena->poison_all();
    weights = model::make_weight_set(config, *arena, weight_regions);
    packed = model::make_packed_set(config, *arena, packed_regions);
    rope = model::make_rope(config, *arena, rope_regions);
    model::init_random(config, weights, rng.next_u64());
    for (const Tensor& tensor : weights.flat) {  // norms and biases too
      if (tensor.rank() > 1) continue;
      for (float& value : tensor.f32_span()) value += 0.3F * rng.normal();
    }
    model::WeightSet masters;
    if (variant.lora) {
      masters = weights;
      masters.adapters = model::make_adapter_masters(config, *arena, adapter_regions);
      weights.adapters = model::make_adapters(config, *arena, adapter_regions);
      for (const Tensor& tensor : model::flat_adapters(config, masters.adapters)) {
        for (float& value : tensor.f32_span()) value = 0.2F * rng.normal();
      }
    }
    trainer = std::make_unique<train::Trainer>(ctx, config, options, *arena, regions, weights, packed, rope,
                                               masters);
    other = std::make_unique<train::Trainer>(other_ctx, config, others, *arena, other_regions, weights,
                                             packed, rope, masters);
  }

  model::ModelConfig config;
  ThreadPool pool, other_pool;
  ops::Context ctx;
  std::unique_ptr<Arena> arena;
  model::WeightSet weights, packed;
  model::RopeTables rope;
  std::unique_ptr<train::Trainer> trainer, other;
};

enum class Order { kInOrder, kShuffled, kOneByOne, kSingles };

// An engine over the policy's weights, and how it is asked.
struct Sampling {
  Sampling(const Policy& policy, const EngineConfig& engine_config, int threads, Order how)
      : config(engine_config), order(how), pool(threads) {
    ops::Context ctx = policy.ctx;
    ctx.pool = &pool;
    MemoryPlan plan;
    const auto regions = rollout::Engine::plan(ctx, policy.config, config, plan);
    arena = std::make_unique<Arena>(plan, Device{});
    arena->poison_all();
    engine = std::make_unique<rollout::Engine>(ctx, policy.config, config, *arena, regions, policy.weights,
                                               policy.packed, policy.rope,
                                               [](std::int32_t) { return std::string(); });
    client = std::make_unique<client::EngineTeam>(*engine);
  }

  std::string text() const {
    return fmt::format("sequences {}, batch tokens {}, page {}, pages {}, threads {}, order {}",
                       config.max_sequences, config.max_batch_tokens, config.page_size, config.num_pages,
                       pool.size(), static_cast<int>(order));
  }

  EngineConfig config;
  Order order;
  ThreadPool pool;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<rollout::Engine> engine;
  std::unique_ptr<client::EngineTeam> client;
};

using Answers = std::map<std::pair<std::int64_t, std::int32_t>, SampledSequence>;  // by request and sample

Answers answers(Sampling& sampling, std::vector<GroupRequest> requests, Rng& rng) {
  constexpr std::int64_t kSinglesFrom = 1000;
  if (sampling.order == Order::kSingles) {  // the samples of a group as requests of their own
    std::vector<GroupRequest> singles;
    for (const GroupRequest& request : requests) {
      for (std::int32_t i = 0; i < request.n; ++i) {
        GroupRequest single = request;
        single.id = kSinglesFrom + request.id * 100 + i;
        single.n = 1;
        single.seeds = {request.seeds[static_cast<std::size_t>(i)]};
        singles.push_back(single);
      }
    }
    requests = singles;
  }
  if (sampling.order != Order::kInOrder) {
    for (std::size_t i = requests.size(); i > 1; --i) std::swap(requests[i - 1], requests[rng.below(i)]);
  }
  std::vector<SampledSequence> all;
  for (const GroupRequest& request : requests) {
    rollout::require_trainable(request);
    sampling.client->submit(request);
    if (sampling.order != Order::kOneByOne) continue;
    for (std::uint64_t polls = rng.below(6); polls > 0; --polls) {
      for (SampledSequence& sequence : sampling.client->poll().finished) all.push_back(std::move(sequence));
    }
  }
  for (SampledSequence& sequence : client::collect_all(*sampling.client)) all.push_back(std::move(sequence));
  Answers out;
  for (SampledSequence& sequence : all) {
    if (sequence.group >= kSinglesFrom) {
      sequence.sample = static_cast<std::int32_t>((sequence.group - kSinglesFrom) % 100);
      sequence.group = (sequence.group - kSinglesFrom) / 100;
    }
    EXPECT_TRUE(out.emplace(std::pair(sequence.group, sequence.sample), sequence).second);
  }
  return out;
}

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> out;
  for (const float value : values) out.push_back(std::bit_cast<std::uint32_t>(value));
  return out;
}

class Exactness : public ::testing::TestWithParam<Variant> {
 protected:
  Exactness()
      : rng_(test::fresh_seed()),
        max_len_(std::vector<std::int64_t>{24, 60, 160}[rng_.below(3)]),
        row_tokens_(max_len_ * static_cast<std::int64_t>(1 + rng_.below(4)) +
                    static_cast<std::int64_t>(rng_.below(20))),
        policy_(GetParam(), rng_, row_tokens_) {}

  // Some prompts begin alike, some are the same.
  std::vector<GroupRequest> random_requests() {
    const auto random_id = [&] {
      return static_cast<std::int32_t>(rng_.below(static_cast<std::uint64_t>(policy_.config.vocab_size)));
    };
    const auto most = static_cast<std::uint64_t>(max_len_ - 2);
    std::vector<std::int32_t> beginning;
    for (std::uint64_t i = most / 2; i > 0; --i) beginning.push_back(random_id());
    std::vector<GroupRequest> requests;
    for (std::int64_t id = 0; id < 9; ++id) {
      GroupRequest request;
      request.id = id;
      request.prompt.assign(beginning.begin(), beginning.begin() + static_cast<std::ptrdiff_t>(
                                                                       rng_.below(beginning.size() + 1)));
      for (std::uint64_t i = 1 + rng_.below(most / 2); i > 0; --i) request.prompt.push_back(random_id());
      if (id > 0 && rng_.below(4) == 0) request.prompt = requests[rng_.below(requests.size())].prompt;
      request.n = static_cast<std::int32_t>(1 + rng_.below(5));
      request.max_tokens =
          static_cast<std::int32_t>(max_len_ - static_cast<std::int64_t>(request.prompt.size()));
      if (rng_.below(2) == 0) request.max_tokens = std::min(request.max_tokens, 7);
      for (std::int32_t i = 0; i < request.n; ++i) request.seeds.push_back(rng_.next_u64());
      request.sampling.temperature = rng_.below(4) == 0 ? 1.0F : 0.3F + 1.5F * rng_.uniform();
      for (int i = 0; i < 2; ++i) request.stop_ids.push_back(random_id());
      requests.push_back(request);
    }
    return requests;
  }

  std::vector<std::unique_ptr<Sampling>> samplings() {
    std::vector<std::unique_ptr<Sampling>> all;
    const auto add = [&](EngineConfig config, int threads, Order order) {
      config.max_model_len = max_len_;
      all.push_back(std::make_unique<Sampling>(policy_, config, threads, order));
    };
    add({.max_sequences = 64, .max_batch_tokens = 2048, .page_size = 16}, 1, Order::kInOrder);
    add({.max_sequences = 1, .max_batch_tokens = 64, .page_size = 64}, 2, Order::kSingles);
    for (int i = 0; i < 6; ++i) {
      EngineConfig config;
      config.max_sequences = static_cast<std::int64_t>(1 + rng_.below(20));
      config.max_batch_tokens = static_cast<std::int64_t>(1 + rng_.below(rng_.below(2) == 0 ? 12 : 200));
      config.page_size = static_cast<std::int64_t>(1 + rng_.below(20));
      if (rng_.below(2) == 0) {  // room for a few sequences: others wait, or lose their pages
        const std::int64_t each = (max_len_ + config.page_size - 1) / config.page_size;
        config.num_pages = each * static_cast<std::int64_t>(1 + rng_.below(3));
      }
      add(config, static_cast<int>(1 + rng_.below(3)), static_cast<Order>(i % 4));
    }
    return all;
  }

  TrainingBatch batch_of(const std::vector<GroupRequest>& requests, const Answers& sampled) {
    TrainingBatch batch;
    std::vector<data::Sample> samples;
    for (const GroupRequest& request : requests) {
      Group group;
      group.id = request.id;
      group.prompt_ids = request.prompt;
      for (std::int32_t i = 0; i < request.n; ++i) {
        group.rollouts.push_back(make_rollout(sampled.at({request.id, i}), 5));
        group.rollouts.back().advantage = static_cast<double>(rng_.normal());
        samples.push_back(make_sample(group, group.rollouts.back(),
                                      static_cast<double>(request.sampling.temperature), max_len_,
                                      static_cast<std::int64_t>(samples.size())));
      }
      batch.groups.push_back(std::move(group));
    }
    batch.micro_batches = pack_rows(samples, row_tokens_);
    return batch;
  }

  // Every loss token of the rows; returns their number.
  std::int64_t expect_trainers_logprobs(const std::vector<data::MicroBatch>& rows) {
    std::int64_t tokens = 0;
    for (const data::MicroBatch& row : rows) {
      for (train::Trainer* trainer : {policy_.trainer.get(), policy_.other.get()}) {
        const std::vector<float> logprobs = trainer->logprobs(row);
        EXPECT_EQ(logprobs.size(), row.ids.size());
        for (std::size_t t = 0; t < logprobs.size(); ++t) {
          if (row.mask[t] == 0) continue;
          EXPECT_EQ(bits({logprobs[t]}), bits({row.inference_logprobs[t]}))
              << "token " << t << ": " << logprobs[t] << " and " << row.inference_logprobs[t];
          if (HasFailure()) return 0;
        }
      }
      tokens += row.loss_tokens();
    }
    return tokens;
  }

  Rng rng_;
  std::int64_t max_len_, row_tokens_;
  Policy policy_;
};

TEST_P(Exactness, EverySampledLogprobIsTheTrainersWhateverTheBatch) {
  SCOPED_TRACE(fmt::format("seed {}, RLCPP_TEST_SEED repeats it", rng_.seed()));
  const auto engines = samplings();
  std::int64_t cached = 0;
  for (std::int64_t version = 0; version < 3; ++version) {
    const std::vector<GroupRequest> requests = random_requests();
    const Answers expected = answers(*engines.front(), requests, rng_);
    for (const auto& sampling : engines) {
      SCOPED_TRACE(sampling->text());
      for (int time = 0; time < 2; ++time) {  // the second time, pages of the first may serve again
        const Answers got = answers(*sampling, requests, rng_);
        ASSERT_EQ(got.size(), expected.size());
        for (const auto& [key, sequence] : got) {
          const SampledSequence& same = expected.at(key);
          ASSERT_EQ(sequence.ids, same.ids) << key.first << ", " << key.second;
          ASSERT_EQ(bits(sequence.logprobs), bits(same.logprobs)) << key.first << ", " << key.second;
          ASSERT_EQ(sequence.finish, same.finish);
          ASSERT_EQ(sequence.versions, std::vector<std::int64_t>(sequence.ids.size(), version));
        }
      }
      cached += sampling->engine->stats().cached_tokens;
    }
    const TrainingBatch batch = batch_of(requests, expected);
    EXPECT_GE(expect_trainers_logprobs(batch.micro_batches), static_cast<std::int64_t>(expected.size()));
    if (HasFailure()) return;
    // The step itself says so too, and its update is what every engine samples from next.
    const train::StepResult result = policy_.trainer->step(batch.micro_batches);
    EXPECT_EQ(result.max_abs_mismatch, 0);
    EXPECT_FALSE(result.first_mismatch.has_value());
    EXPECT_EQ(result.metrics.get("mismatch_kl/max", -1), 0);
    EXPECT_GT(result.grad_norm, 0);
    EXPECT_FALSE(result.skipped);
    for (const auto& sampling : engines) sampling->client->set_version(version + 1);
  }
  EXPECT_GT(cached, 0);
}

// The check is not blind: one bit of one log-probability is found and named.
TEST_P(Exactness, OneBitIsNoticed) {
  SCOPED_TRACE(fmt::format("seed {}", rng_.seed()));
  const auto engines = samplings();
  const std::vector<GroupRequest> requests = random_requests();
  TrainingBatch batch = batch_of(requests, answers(*engines.back(), requests, rng_));
  data::MicroBatch& row = batch.micro_batches[rng_.below(batch.micro_batches.size())];
  std::vector<std::size_t> trained;
  for (std::size_t t = 0; t < row.mask.size(); ++t) {
    if (row.mask[t] != 0) trained.push_back(t);
  }
  float& value = row.inference_logprobs[trained[rng_.below(trained.size())]];
  const float right = value;
  value = std::nextafter(value, -1.0F);
  if (value == right) value = std::nextafter(right, -2.0F);
  const train::StepResult result = policy_.trainer->step(batch.micro_batches);
  ASSERT_TRUE(result.first_mismatch.has_value());
  EXPECT_EQ(bits({result.first_mismatch->trainer}), bits({right}));
  EXPECT_EQ(bits({result.first_mismatch->inference}), bits({value}));
  EXPECT_GT(result.max_abs_mismatch, 0);
  const auto sentence = describe_mismatch(batch, result.first_mismatch);
  ASSERT_TRUE(sentence.has_value());
  EXPECT_NE(sentence->find(fmt::format("trained with {:.9g}", right)), std::string::npos) << *sentence;
}

// What a policy answers after an evaluation is what it answers without one, and it costs the same: otherwise
// the order in which groups finish, and with oversampling the choice of groups, would depend on it.
TEST_P(Exactness, AnEvaluationLeavesNothingInTheEngine) {
  SCOPED_TRACE(fmt::format("seed {}", rng_.seed()));
  const std::int32_t vocabulary = static_cast<std::int32_t>(policy_.config.vocab_size);
  TextCodec codec = testing::byte_codec();
  const auto bytes = codec.prompt_ids;
  codec.prompt_ids = [bytes, vocabulary](const std::vector<env::Message>& messages) {
    std::vector<std::int32_t> ids = bytes(messages);
    for (std::int32_t& id : ids) id %= vocabulary;
    return ids;
  };
  const Environments environments({testing::adding("add", 4)}, codec);
  Sampling evaluated(policy_,
                     {.max_sequences = 8, .max_batch_tokens = 16, .page_size = 1, .max_model_len = 24}, 1,
                     Order::kInOrder);
  Sampling fresh(policy_, evaluated.config, 1, Order::kInOrder);
  EvaluationOptions options;
  options.num_examples = -1;
  options.seq_len = 24;
  options.groups_in_flight = 4;
  options.sampling.temperature = 0.7;
  const EvaluationResult result = evaluate(*evaluated.client, environments, 0, options, {});
  EXPECT_EQ(result.groups.size(), 4U);
  const std::int64_t cached = evaluated.engine->stats().cached_tokens;
  const std::int64_t computed = evaluated.engine->stats().prefill_tokens;

  std::vector<GroupRequest> requests;
  for (const Group& group : result.groups) {
    GroupRequest request;
    request.id = group.id;
    request.prompt = group.prompt_ids;
    request.max_tokens = 5;
    request.seeds = {rng_.next_u64()};
    requests.push_back(request);
  }
  const Answers got = answers(evaluated, requests, rng_), expected = answers(fresh, requests, rng_);
  for (const auto& [key, sequence] : expected) {
    EXPECT_EQ(got.at(key).ids, sequence.ids);
    EXPECT_EQ(bits(got.at(key).logprobs), bits(sequence.logprobs));
  }
  EXPECT_EQ(evaluated.engine->stats().cached_tokens - cached, fresh.engine->stats().cached_tokens);
  EXPECT_EQ(evaluated.engine->stats().prefill_tokens - computed, fresh.engine->stats().prefill_tokens);
  // Pages that are left would show: within one policy they serve again.
  const std::int64_t before = fresh.engine->stats().cached_tokens;
  answers(fresh, requests, rng_);
  EXPECT_GT(fresh.engine->stats().cached_tokens, 2 * before);
}

std::string kind_name(const ::testing::TestParamInfo<Variant>& info) {
  static const char* const names[] = {"Qwen3", "Qwen2", "Llama"};
  return std::string(names[static_cast<int>(info.param.kind)]) + (info.param.lora ? "Lora" : "");
}

INSTANTIATE_TEST_SUITE_P(Families, Exactness,
                         ::testing::Values(Variant{Kind::kQwen3, false}, Variant{Kind::kQwen2, false},
                                           Variant{Kind::kLlama, false}, Variant{Kind::kQwen3, true},
                                           Variant{Kind::kQwen2, true}, Variant{Kind::kLlama, true}),
                         kind_name);

}  // namespace
}  // namespace rlcpp::orchestrator
