#include "rollout/tiny_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "model/config.h"
#include "ops/head.h"

namespace rlcpp::rollout {
namespace {

constexpr std::int64_t kMaxPositions = 96;

}  // namespace

model::ModelConfig tiny_config(TinyKind kind, Rng& rng) {
  const char* const names[][2] = {
      {"Qwen3ForCausalLM", "qwen3"}, {"Qwen2ForCausalLM", "qwen2"}, {"LlamaForCausalLM", "llama"}};
  const auto [architecture, type] = names[static_cast<int>(kind)];
  const std::int64_t kv_heads = 1 + static_cast<std::int64_t>(rng.below(2));
  const std::int64_t heads = kv_heads * (1 + static_cast<std::int64_t>(rng.below(3)));
  const std::int64_t head_dim = 8 * (1 + static_cast<std::int64_t>(rng.below(2)));
  std::string text = fmt::format(
      R"({{"architectures": ["{}"], "model_type": "{}", "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
      "num_hidden_layers": 2, "num_attention_heads": {}, "num_key_value_heads": {}, "max_position_embeddings": {},
      "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.25,
      "tie_word_embeddings": {})",
      architecture, type, 30 + rng.below(300), heads * head_dim, 16 + 8 * rng.below(4), heads, kv_heads,
      kMaxPositions, rng.below(2) == 0 ? "true" : "false");
  if (kind == TinyKind::kQwen3) text += fmt::format(R"(, "head_dim": {})", head_dim);
  if (kind == TinyKind::kLlama) text += R"(, "attention_bias": true, "mlp_bias": true)";
  return model::parse_config(text + "}", "tiny config");
}

void expect_same(const Answer& got, const Answer& expected, const std::string& where) {
  ASSERT_EQ(got.ids, expected.ids) << where;
  ASSERT_EQ(got.finish, expected.finish) << where;
  ASSERT_EQ(got.logprobs.size(), expected.logprobs.size()) << where;
  for (std::size_t i = 0; i < got.logprobs.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(got.logprobs[i]),
              std::bit_cast<std::uint32_t>(expected.logprobs[i]))
        << where << ", token " << i << ": " << got.logprobs[i] << " and " << expected.logprobs[i];
  }
}

Answer answer_of(const SampledSequence& sequence) {
  return {sequence.ids, sequence.logprobs, sequence.finish};
}

TinyModel::TinyModel(const model::ModelConfig& model_config, std::uint64_t seed, int threads)
    : config(model_config), pool(threads) {
  ctx.pool = &pool;
  MemoryPlan plan;
  const auto weight_regions = model::plan_weights(config, plan, MemoryUse::kWeights, "weights", DType::kF32);
  const auto packed_regions = model::plan_packed(config, ctx, plan);
  const auto rope_regions = model::plan_rope(config, plan, kMaxPositions);
  const auto activation_regions =
      model::Activations::plan(config, plan, kMaxPositions, model::Recompute::kNone);
  const auto add = [&](DType type, std::initializer_list<std::int64_t> shape) {
    return plan.add(MemoryUse::kWorkspace, "test", type, shape);
  };
  const RegionId ids = add(DType::kI32, {kMaxPositions}), positions = add(DType::kI32, {kMaxPositions});
  const RegionId cu_seqlens = add(DType::kI32, {2}), targets = add(DType::kI32, {kMaxPositions});
  const RegionId temperatures = add(DType::kF32, {kMaxPositions}),
                 logprobs = add(DType::kF32, {kMaxPositions});
  const RegionId logits = add(DType::kF32, {7, config.vocab_size}), lse = add(DType::kF32, {1});
  arena_ = std::make_unique<Arena>(std::move(plan), Device{});
  arena_->poison_all();
  weights = model::make_weight_set(config, *arena_, weight_regions);
  packed = model::make_packed_set(config, *arena_, packed_regions);
  rope = model::make_rope(config, *arena_, rope_regions);
  activations_ = std::make_unique<model::Activations>(ctx, config, *arena_, activation_regions);
  ids_ = (*arena_)[ids];
  positions_ = (*arena_)[positions];
  cu_seqlens_ = (*arena_)[cu_seqlens];
  targets_ = (*arena_)[targets];
  temperatures_ = (*arena_)[temperatures];
  logprobs_ = (*arena_)[logprobs];
  logits_ = (*arena_)[logits];
  lse_ = (*arena_)[lse];
  randomise(seed);
}

void TinyModel::randomise(std::uint64_t seed) {
  model::init_random(config, weights, seed);
  Rng rng(seed, 1);
  for (const Tensor& tensor : weights.flat) {
    if (tensor.rank() > 1) continue;
    for (float& value : tensor.f32_span()) value += 0.3F * rng.normal();
  }
  model::pack_all(ctx, packed, weights);
}

Tensor TinyModel::forward(const std::vector<std::int32_t>& text) {
  const auto length = static_cast<std::int64_t>(text.size());
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(length); ++i) {
    ids_.i32()[i] = text[static_cast<std::size_t>(i)];
    positions_.i32()[i] = i;
  }
  cu_seqlens_.i32()[0] = 0;
  cu_seqlens_.i32()[1] = static_cast<std::int32_t>(length);
  return model::forward(ctx, config, weights, packed, rope,
                        {ids_.rows(0, length), positions_.rows(0, length), cu_seqlens_}, *activations_);
}

std::vector<float> TinyModel::trainer_logprobs(const std::vector<std::int32_t>& prompt,
                                               const std::vector<std::int32_t>& output, float temperature) {
  std::vector<std::int32_t> text = prompt;
  text.insert(text.end(), output.begin(), output.end());
  const auto length = static_cast<std::int64_t>(text.size());
  const Tensor hidden = forward(text);
  for (std::int64_t i = 0; i < length; ++i) {
    const bool wanted = i + 1 < length && i + 1 >= static_cast<std::int64_t>(prompt.size());
    targets_.i32()[i] = wanted ? text[static_cast<std::size_t>(i + 1)] : -1;
    temperatures_.f32()[i] = temperature;
  }
  ops::head_logprobs(
      ctx, logprobs_.rows(0, length), Tensor(),
      {hidden, weights.head, packed.head, targets_.rows(0, length), temperatures_.rows(0, length), logits_});
  const float* first = logprobs_.f32() + prompt.size() - 1;
  return {first, first + output.size()};
}

Answer TinyModel::naive(const GroupRequest& request, std::int32_t sample, std::int64_t max_model_len) {
  Answer answer;
  std::vector<std::int32_t> text = request.prompt;
  std::string bytes;
  for (std::int32_t index = 0;; ++index) {
    const Tensor hidden = forward(text).rows(static_cast<std::int64_t>(text.size()) - 1, 1);
    const Tensor logits = logits_.rows(0, 1);
    temperatures_.f32()[0] = request.sampling.plain() ? request.sampling.temperature : 1.0F;
    ops::head_logits(ctx, logits, hidden, weights.head, packed.head, temperatures_.rows(0, 1));
    if (index < request.min_tokens) {
      for (const std::int32_t id : request.stop_ids)
        logits.f32()[id] = -std::numeric_limits<float>::infinity();
    }
    ops::head_statistics(ctx, lse_, Tensor(), logits);
    const float uniform = ops::draw_uniform(request.seeds[static_cast<std::size_t>(sample)], index);
    const ops::SampledToken token =
        ops::sample_row(logits.f32_span(), lse_.f32()[0], request.sampling, text, uniform);
    text.push_back(token.id);
    answer.ids.push_back(token.id);
    answer.logprobs.push_back(token.logprob);

    const std::size_t old = bytes.size();
    bytes += tiny_bytes(token.id);
    bool stop = std::ranges::count(request.stop_ids, token.id) > 0;
    for (const std::string& wanted : request.stop_strings) {
      const std::size_t at = bytes.rfind(wanted);
      const bool ends_here = at != std::string::npos && at + wanted.size() > old;
      stop = stop || (ends_here && index + 1 > request.min_tokens);
    }
    const bool full =
        index + 1 == request.max_tokens || static_cast<std::int64_t>(text.size()) == max_model_len;
    if (!stop && !full) continue;
    answer.finish = stop ? FinishReason::kStop : FinishReason::kLength;
    return answer;
  }
}

std::string tiny_bytes(std::int32_t id) {
  std::string bytes;
  for (std::int32_t i = 0; i <= id % 3; ++i) bytes += (id >> (2 + i)) % 2 == 0 ? 'a' : 'b';
  return bytes;
}

TinyEngine::TinyEngine(const TinyModel& model, const EngineConfig& config, int threads)
    : pool(std::make_unique<ThreadPool>(threads)) {
  ops::Context ctx = model.ctx;
  ctx.pool = pool.get();
  MemoryPlan plan;
  const auto regions = Engine::plan(ctx, model.config, config, plan);
  arena = std::make_unique<Arena>(std::move(plan), Device{});
  arena->poison_all();
  EngineConfig own = config;
  // What an engine answers does not depend on it, so every test meets both.
  if (!own.look_ahead.has_value()) own.look_ahead = test::fresh_seed() % 2 == 0;
  engine = std::make_unique<Engine>(ctx, model.config, own, *arena, regions, model.weights, model.packed,
                                    model.rope, tiny_bytes);
}

GroupRequest random_request(const model::ModelConfig& config, std::int64_t max_model_len, std::int64_t id,
                            Rng& rng) {
  GroupRequest request;
  request.id = id;
  const auto longest = static_cast<std::uint64_t>(max_model_len - 1);
  const auto random_id = [&] {
    return static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(config.vocab_size)));
  };
  // A few beginnings that many requests share.
  Rng beginning(rng.below(2), 77);
  const std::uint64_t common = std::min<std::uint64_t>(rng.below(18), longest);
  for (std::uint64_t i = 0; i < common; ++i) {
    request.prompt.push_back(
        static_cast<std::int32_t>(beginning.below(static_cast<std::uint64_t>(config.vocab_size))));
  }
  const std::uint64_t own = 1 + rng.below(8);
  while (request.prompt.size() < std::min(common + own, longest)) request.prompt.push_back(random_id());
  request.n = static_cast<std::int32_t>(1 + rng.below(4));
  request.max_tokens = static_cast<std::int32_t>(1 + rng.below(16));
  for (std::int32_t i = 0; i < request.n; ++i) request.seeds.push_back(rng.next_u64());
  request.sampling.temperature = 0.5F + rng.uniform();
  for (std::uint64_t i = 0; i < rng.below(3); ++i) request.stop_ids.push_back(random_id());
  if (rng.below(3) == 0) request.stop_strings = {"abba", "bbbbb"};
  if (rng.below(3) == 0)
    request.min_tokens =
        static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(request.max_tokens) + 1));
  switch (rng.below(8)) {  // half of them plain
    case 0:
      request.sampling.top_k = static_cast<std::int32_t>(1 + rng.below(10));
      break;
    case 1:
      request.sampling.top_p = 0.3F + 0.6F * rng.uniform();
      break;
    case 2:
      request.sampling = {
          .temperature = 0.9F, .top_k = 12, .top_p = 0.9F, .min_p = 0.05F, .repetition_penalty = 1.3F};
      break;
    case 3:
      request.sampling.temperature = 0;
      break;
    default:
      break;
  }
  return request;
}

}  // namespace rlcpp::rollout
