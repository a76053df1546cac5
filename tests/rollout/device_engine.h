// What tests of the engine on a GPU stand on: a small model on the device and on the CPU, an engine over it,
// and what its answers are compared with.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>

#include "ops/head.h"
#include "ops/workspace.h"
#include "rollout/tiny_model.h"
#include "tensor/copy.h"

namespace rlcpp::rollout {

inline bool has_gpu() {
  std::string why;
  return !cuda::gpus(&why).empty();
}

// Heads and pages that the kernels for decoding take.
inline model::ModelConfig device_config(TinyKind kind, std::int64_t head_dim, std::int64_t layers,
                                        std::int64_t vocabulary = 1003) {
  const char* const names[][2] = {
      {"Qwen3ForCausalLM", "qwen3"}, {"Qwen2ForCausalLM", "qwen2"}, {"LlamaForCausalLM", "llama"}};
  const auto [architecture, type] = names[static_cast<int>(kind)];
  std::string text = fmt::format(
      R"({{"architectures": ["{}"], "model_type": "{}", "vocab_size": {}, "hidden_size": {},
      "intermediate_size": 256, "num_hidden_layers": {}, "num_attention_heads": 4, "num_key_value_heads": 2,
      "max_position_embeddings": 96, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
      "initializer_range": 0.05, "tie_word_embeddings": true)",
      architecture, type, vocabulary, 4 * head_dim, layers);
  if (kind == TinyKind::kQwen3) text += fmt::format(R"(, "head_dim": {})", head_dim);
  return model::parse_config(text + "}", "device config");
}

// A model's weights rounded to bf16, on the GPU and, as f32, in the CPU's model.
struct DeviceModel {
  explicit DeviceModel(TinyModel& cpu, ops::NumericMode mode = ops::NumericMode::kFast)
      : pool(1), ctx(ops::make_context({DeviceKind::kCuda, 0}, pool, mode)) {
    MemoryPlan plan;
    const auto regions = model::plan_weights(cpu.config, plan, MemoryUse::kWeights, "weights", DType::kBF16);
    const auto packed_regions = model::plan_packed(cpu.config, ctx, plan);
    const auto rope_regions = model::plan_rope(cpu.config, plan, 96);
    ops::WorkspaceNeeds needs;
    needs.tokens = kRow;
    needs.documents = kRow;
    needs.hidden_size = cpu.config.hidden_size;
    needs.vocab_size = cpu.config.vocab_size;
    needs.shape = cpu.config.qkv();
    const RegionId scratch = plan.add(MemoryUse::kWorkspace, "scratch", DType::kU8,
                                      {static_cast<std::int64_t>(ops::workspace_bytes(ctx, needs))});
    const auto activation_regions =
        model::Activations::plan(cpu.config, plan, kRow, model::Recompute::kNone, DType::kBF16);
    const auto add = [&](DType dtype, std::initializer_list<std::int64_t> shape) {
      return plan.add(MemoryUse::kWorkspace, "test", dtype, shape);
    };
    const RegionId of_ids = add(DType::kI32, {kRow}), of_positions = add(DType::kI32, {kRow});
    const RegionId of_boundaries = add(DType::kI32, {kRow}), of_targets = add(DType::kI32, {kRow});
    const RegionId of_temperatures = add(DType::kF32, {kRow}), of_logprobs = add(DType::kF32, {kRow});
    const RegionId of_logits = add(DType::kF32, {64, cpu.config.vocab_size});
    arena = std::make_unique<Arena>(std::move(plan), ctx.device);
    arena->poison_all();
    activations = std::make_unique<model::Activations>(ctx, cpu.config, *arena, activation_regions);
    ids = (*arena)[of_ids];
    positions = (*arena)[of_positions];
    boundaries = (*arena)[of_boundaries];
    targets = (*arena)[of_targets];
    temperatures = (*arena)[of_temperatures];
    logprobs = (*arena)[of_logprobs];
    logits = (*arena)[of_logits];
    ops::use_workspace(ctx, (*arena)[scratch]);
    weights = model::make_weight_set(cpu.config, *arena, regions);
    packed = model::make_packed_set(cpu.config, *arena, packed_regions);
    rope = model::make_rope(cpu.config, *arena, rope_regions);
    take(cpu);
  }
  void take(TinyModel& cpu) {
    for (std::size_t i = 0; i < weights.flat.size(); ++i) {
      from_floats(weights.flat[i], cpu.weights.flat[i].f32_span());
      const std::vector<float> rounded = to_floats(weights.flat[i]);
      std::ranges::copy(rounded, cpu.weights.flat[i].f32());
    }
    model::pack_all(cpu.ctx, cpu.packed, cpu.weights);
  }

  // The trainer's log-probabilities of all outputs, in one packed row of prompts and outputs.
  std::vector<std::vector<float>> trainer_logprobs(const model::ModelConfig& config,
                                                   const std::vector<const GroupRequest*>& asked,
                                                   const std::vector<const SampledSequence*>& got) const {
    std::vector<std::int32_t> text, places, cu = {0}, wanted;
    std::vector<float> divisors;
    std::int64_t longest = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      std::vector<std::int32_t> document = asked[i]->prompt;
      document.insert(document.end(), got[i]->ids.begin(), got[i]->ids.end());
      for (std::size_t t = 0; t < document.size(); ++t) {
        places.push_back(static_cast<std::int32_t>(t));
        const bool output = t + 1 >= asked[i]->prompt.size() && t + 1 < document.size();
        wanted.push_back(output ? document[t + 1] : -1);
        divisors.push_back(asked[i]->sampling.temperature);
      }
      text.insert(text.end(), document.begin(), document.end());
      cu.push_back(static_cast<std::int32_t>(text.size()));
      longest = std::max(longest, static_cast<std::int64_t>(document.size()));
    }
    const auto m = static_cast<std::int64_t>(text.size());
    const auto d = static_cast<std::int64_t>(cu.size());
    RLCPP_CHECK(m <= kRow && d <= kRow);
    copy(ids.rows(0, m), host_view(std::span(text), DType::kI32));
    copy(positions.rows(0, m), host_view(std::span(places), DType::kI32));
    copy(boundaries.rows(0, d), host_view(std::span(cu), DType::kI32));
    copy(targets.rows(0, m), host_view(std::span(wanted), DType::kI32));
    copy(temperatures.rows(0, m), host_view(std::span(divisors), DType::kF32));
    const Tensor hidden = model::forward(
        ctx, config, weights, packed, rope,
        {ids.rows(0, m), positions.rows(0, m), {boundaries.rows(0, d), longest}}, *activations);
    ops::head_logprobs(ctx, logprobs.rows(0, m), Tensor(),
                       {hidden, weights.head, Tensor(), targets.rows(0, m), temperatures.rows(0, m), logits});
    const std::vector<float> all = to_floats(logprobs.rows(0, m));
    std::vector<std::vector<float>> out;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const auto first = all.begin() + cu[i] + static_cast<std::ptrdiff_t>(asked[i]->prompt.size()) - 1;
      out.emplace_back(first, first + static_cast<std::ptrdiff_t>(got[i]->ids.size()));
    }
    return out;
  }

  // The raw logits that each output token was drawn from, by the trainer's forward.
  std::vector<std::vector<float>> trainer_logits(const model::ModelConfig& config, const GroupRequest& asked,
                                                 const SampledSequence& got) const {
    std::vector<std::int32_t> text = asked.prompt, places;
    text.insert(text.end(), got.ids.begin(), got.ids.end());
    const auto m = static_cast<std::int64_t>(text.size());
    for (std::int64_t t = 0; t < m; ++t) places.push_back(static_cast<std::int32_t>(t));
    std::vector<std::int32_t> cu = {0, static_cast<std::int32_t>(m)};
    copy(ids.rows(0, m), host_view(std::span(text), DType::kI32));
    copy(positions.rows(0, m), host_view(std::span(places), DType::kI32));
    copy(boundaries.rows(0, 2), host_view(std::span(cu), DType::kI32));
    const Tensor hidden =
        model::forward(ctx, config, weights, packed, rope,
                       {ids.rows(0, m), positions.rows(0, m), {boundaries.rows(0, 2), m}}, *activations);
    std::vector<std::vector<float>> out;
    const auto width = static_cast<std::ptrdiff_t>(config.vocab_size);
    const auto first = static_cast<std::int64_t>(asked.prompt.size()) - 1;
    for (std::int64_t row = first; row < m - 1; row += logits.dim(0)) {
      const std::int64_t count = std::min(logits.dim(0), m - 1 - row);
      ops::head_logits(ctx, logits.rows(0, count), hidden.rows(row, count), weights.head, Tensor(), Tensor());
      const std::vector<float> some = to_floats(logits.rows(0, count));
      for (auto begin = some.begin(); begin != some.end(); begin += width) {
        out.emplace_back(begin, begin + width);
      }
    }
    return out;
  }

  static constexpr std::int64_t kRow = 4096;  // tokens
  ThreadPool pool;
  ops::Context ctx;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<model::Activations> activations;
  model::WeightSet weights, packed;
  model::RopeTables rope;
  Tensor ids, positions, boundaries, targets, temperatures, logprobs, logits;
};

struct DeviceEngine {
  DeviceEngine(const TinyModel& cpu, const DeviceModel& device, const EngineConfig& config) {
    MemoryPlan plan;
    const auto regions = Engine::plan(device.ctx, cpu.config, config, plan);
    arena = std::make_unique<Arena>(std::move(plan), device.ctx.device);
    arena->poison_all();
    engine = std::make_unique<Engine>(device.ctx, cpu.config, config, *arena, regions, device.weights,
                                      device.packed, device.rope, tiny_bytes);
  }
  std::unique_ptr<Arena> arena;
  std::unique_ptr<Engine> engine;
};

using Key = std::pair<std::int64_t, std::int32_t>;

class EngineDevice : public ::testing::TestWithParam<TinyKind> {
 protected:
  void SetUp() override {
    if (!has_gpu()) {
      const char* const expected = std::getenv("RLCPP_TEST_GPU");
      ASSERT_FALSE(expected != nullptr && std::string(expected) == "1") << "no GPU";
      GTEST_SKIP() << "no GPU";
    }
  }

  // `n` requests with shared beginnings, of at most max_model_len tokens.
  static std::vector<GroupRequest> requests(const model::ModelConfig& config, int count, Rng& rng) {
    std::vector<GroupRequest> all;
    for (int i = 0; i < count; ++i) {
      GroupRequest r = random_request(config, 90, i, rng);
      r.stop_strings.clear();
      all.push_back(std::move(r));
    }
    return all;
  }

  // Log-probabilities of plain draws against the CPU's; the mean tells a wrong kernel from rounding.
  static void expect_probable(TinyModel& cpu, const std::vector<GroupRequest>& all,
                              const std::vector<SampledSequence>& got, const std::string& where) {
    double sum = 0, most = 0;
    std::int64_t count = 0;
    for (const SampledSequence& s : got) {
      const GroupRequest& r = all[static_cast<std::size_t>(s.group)];
      ASSERT_FALSE(s.ids.empty()) << where;
      ASSERT_EQ(s.logprobs.size(), s.ids.size()) << where;
      ASSERT_EQ(s.versions.size(), s.ids.size()) << where;
      if (!r.sampling.plain() || (r.min_tokens > 0 && !r.stop_ids.empty())) continue;
      const std::vector<float> expected = cpu.trainer_logprobs(r.prompt, s.ids, r.sampling.temperature);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double off = std::abs(static_cast<double>(s.logprobs[i]) - expected[i]);
        sum += off;
        most = std::max(most, off);
        ++count;
      }
    }
    ASSERT_GT(count, 0) << where;
    EXPECT_LT(sum / static_cast<double>(count), 0.02) << where;
    EXPECT_LT(most, 0.25) << where;
  }
};

inline std::string kind_name(const ::testing::TestParamInfo<TinyKind>& kind) {
  const char* const names[] = {"Qwen3", "Qwen2", "Llama"};
  return names[static_cast<std::size_t>(kind.param)];
}

}  // namespace rlcpp::rollout
