// The engine on a GPU: what it samples has the probability that the CPU's trainer computes for it with the
// same weights, under every condition, and a run gives the same bits again.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include "ops/head.h"
#include "ops/workspace.h"
#include "rollout/tiny_adapter.h"
#include "rollout/tiny_model.h"
#include "tensor/copy.h"

namespace rlcpp::rollout {
namespace {

bool has_gpu() {
  std::string why;
  return !cuda::gpus(&why).empty();
}

// Heads and pages that the kernels for decoding take.
model::ModelConfig device_config(TinyKind kind, std::int64_t head_dim, std::int64_t layers,
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

std::string kind_name(const ::testing::TestParamInfo<TinyKind>& kind) {
  const char* const names[] = {"Qwen3", "Qwen2", "Llama"};
  return names[static_cast<std::size_t>(kind.param)];
}
INSTANTIATE_TEST_SUITE_P(, EngineDevice,
                         ::testing::Values(TinyKind::kQwen3, TinyKind::kQwen2, TinyKind::kLlama), kind_name);

TEST_P(EngineDevice, SamplesWhatTheTrainerComputes) {
  Rng rng(test::fresh_seed());
  for (const std::int64_t head_dim : {64, 128}) {
    TinyModel cpu(device_config(GetParam(), head_dim, 2), rng.next_u64());
    DeviceModel device(cpu);
    const std::vector<GroupRequest> all = requests(cpu.config, 40, rng);
    struct Condition {
      const char* name;
      EngineConfig config;
    };
    const std::vector<Condition> conditions = {
        {"whole prompts",
         {.max_sequences = 64, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90}},
        {"chunks of 7", {.max_sequences = 16, .max_batch_tokens = 7, .page_size = 16, .max_model_len = 90}},
        {"few pages",
         {.max_sequences = 32,
          .max_batch_tokens = 64,
          .page_size = 16,
          .num_pages = 20,
          .max_model_len = 90}},
        {"pages of 32", {.max_sequences = 32, .max_batch_tokens = 100, .page_size = 32, .max_model_len = 90}},
        {"pages of 5: the portable kernel",
         {.max_sequences = 32, .max_batch_tokens = 100, .page_size = 5, .max_model_len = 90}}};
    for (const Condition& condition : conditions) {
      const std::string where = fmt::format("{}, heads of {}, seed {}", condition.name, head_dim, rng.seed());
      DeviceEngine e(cpu, device, condition.config);
      for (const GroupRequest& r : all) e.engine->submit(r);
      expect_probable(cpu, all, e.engine->run(), where);
      if (HasFatalFailure()) return;
    }
  }
}

// Mode exact: every bit of the trainer's, whatever the batch, the chunks, prefix hits, preemption and packing
// are.
TEST_P(EngineDevice, ExactIsTheTrainerBitForBit) {
  Rng rng(test::fresh_seed());
  for (const std::int64_t head_dim : {64, 128}) {
    TinyModel cpu(device_config(GetParam(), head_dim, 2, 1000), rng.next_u64());
    DeviceModel device(cpu, ops::NumericMode::kExact);
    if (!ops::exact_attention(device.ctx, cpu.config.qkv())) GTEST_SKIP() << "no kernels for mode exact";
    std::vector<GroupRequest> all;
    for (int i = 0; i < 24; ++i) {
      GroupRequest r = random_request(cpu.config, 90, i, rng);
      r.stop_strings.clear();
      r.min_tokens = 0;
      r.sampling = {.temperature = r.sampling.temperature > 0 ? r.sampling.temperature : 1.0F};
      r.max_tokens = static_cast<std::int32_t>(1 + rng.below(60));
      all.push_back(std::move(r));
    }
    const std::vector<EngineConfig> conditions = {
        {.max_sequences = 64, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90},
        {.max_sequences = 1, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90},
        {.max_sequences = 16, .max_batch_tokens = 7, .page_size = 32, .max_model_len = 90},
        {.max_sequences = 32, .max_batch_tokens = 64, .page_size = 16, .num_pages = 20, .max_model_len = 90}};
    std::map<Key, Answer> first;
    for (std::size_t c = 0; c < conditions.size(); ++c) {
      const std::string where = fmt::format("condition {}, heads of {}, seed {}", c, head_dim, rng.seed());
      DeviceEngine e(cpu, device, conditions[c]);
      for (const GroupRequest& r : all) e.engine->submit(r);
      std::vector<SampledSequence> got = e.engine->run();
      std::ranges::shuffle(got, std::mt19937_64(rng.next_u64()));
      for (std::size_t begin = 0; begin < got.size();) {
        // Rows of as many documents as fit.
        std::vector<const GroupRequest*> asked;
        std::vector<const SampledSequence*> row;
        std::size_t tokens = 0, end = begin;
        for (; end < got.size(); ++end) {
          const GroupRequest& r = all[static_cast<std::size_t>(got[end].group)];
          tokens += r.prompt.size() + got[end].ids.size();
          if (tokens > 1500) break;
          asked.push_back(&r);
          row.push_back(&got[end]);
        }
        const auto expected = device.trainer_logprobs(cpu.config, asked, row);
        for (std::size_t i = 0; i < row.size(); ++i) {
          expect_same({row[i]->ids, row[i]->logprobs, row[i]->finish},
                      {row[i]->ids, expected[i], row[i]->finish}, where + ", against the trainer");
          const auto [place, added] = first.try_emplace({row[i]->group, row[i]->sample}, answer_of(*row[i]));
          if (!added) expect_same(answer_of(*row[i]), place->second, where + ", against condition 0");
          if (HasFatalFailure()) return;
        }
        begin = end;
      }
    }
  }
}

// Adapters that requests choose, in mode exact: every bit of a trainer that has the adapter alone, in mixed
// batches, in graphs of one adapter, and once an adapter of another rank has taken its place.
TEST_P(EngineDevice, AdaptersAreTheirTrainersBitForBit) {
  Rng rng(test::fresh_seed());
  const model::ModelConfig config = device_config(GetParam(), 128, 2, 1000);
  const std::uint64_t seed = rng.next_u64();
  TinyModel cpu(config, seed);
  DeviceModel base(cpu, ops::NumericMode::kExact);
  if (!ops::exact_attention(base.ctx, config.qkv())) GTEST_SKIP() << "no kernels for mode exact";
  struct Trainer {
    Trainer(const model::ModelConfig& c, std::uint64_t weights, std::uint64_t adapter)
        : cpu(c, weights), device(cpu, ops::NumericMode::kExact), own(device.ctx, c, adapter) {
      device.weights.adapters = own.values;
    }
    TinyModel cpu;
    DeviceModel device;
    TinyAdapter own;
  };
  const test::TemporaryDirectory dir;
  std::vector<std::unique_ptr<Trainer>> trainers;
  std::vector<std::string> directories;
  for (int i = 0; i < 3; ++i) {
    model::ModelConfig with = config;
    with.adapters = random_adapter(rng, 16, true);
    with.adapters.rank = i == 0 ? 8 : 16;
    trainers.push_back(std::make_unique<Trainer>(with, seed, rng.next_u64()));
    directories.push_back(trainers.back()->own.write(std::filesystem::path(dir / std::to_string(i))));
  }
  const auto request = [&](std::int64_t id, const std::string& adapter) {
    GroupRequest r = random_request(config, 90, id, rng);
    r.adapter = adapter;
    r.stop_strings.clear();
    r.min_tokens = 0;
    r.sampling = {.temperature = r.sampling.temperature > 0 ? r.sampling.temperature : 1.0F};
    r.max_tokens = static_cast<std::int32_t>(1 + rng.below(60));
    return r;
  };
  for (const std::int64_t budget : {256, 7}) {
    EngineConfig numbers{.max_sequences = 32,
                         .max_batch_tokens = budget,
                         .page_size = 16,
                         .num_pages = 60,
                         .max_model_len = 90};
    numbers.max_loras = 2;
    DeviceEngine e(cpu, base, numbers);
    e.engine->load_adapter("one", directories[0]);
    e.engine->load_adapter("two", directories[1]);
    // By the trainers of "" (none), "one" and "two".
    const auto expect_trainers = [&](const std::vector<GroupRequest>& all, std::size_t of_one,
                                     const std::string& where) {
      for (const GroupRequest& r : all) e.engine->submit(r);
      for (const SampledSequence& s : e.engine->run()) {
        const GroupRequest& r = all[static_cast<std::size_t>(s.group)];
        const Trainer* t = r.adapter.empty() ? nullptr : trainers[r.adapter == "one" ? of_one : 1].get();
        const auto logprobs = t == nullptr ? base.trainer_logprobs(config, {&r}, {&s})
                                           : t->device.trainer_logprobs(t->cpu.config, {&r}, {&s});
        expect_same(
            answer_of(s), {s.ids, logprobs[0], s.finish},
            fmt::format("{}, adapter \"{}\", budget {}, seed {}", where, r.adapter, budget, rng.seed()));
        if (HasFatalFailure()) return;
      }
    };
    std::vector<GroupRequest> mixed, uniform;
    for (std::int64_t i = 0; i < 18; ++i)
      mixed.push_back(request(i, i % 3 == 0 ? "" : i % 3 == 1 ? "one" : "two"));
    for (std::int64_t i = 0; i < 6; ++i) uniform.push_back(request(i, "one"));
    expect_trainers(mixed, 0, "mixed");
    expect_trainers(uniform, 0, "of one adapter");
    e.engine->load_adapter("one", directories[2]);
    expect_trainers(uniform, 2, "replaced");
    expect_trainers(mixed, 2, "mixed, replaced");
    if (HasFatalFailure()) return;
  }
}

TEST_P(EngineDevice, TheSameRunGivesTheSameBits) {
  Rng rng(test::fresh_seed());
  TinyModel cpu(device_config(GetParam(), 128, 2), rng.next_u64());
  DeviceModel device(cpu);
  const std::vector<GroupRequest> all = requests(cpu.config, 30, rng);
  const EngineConfig config{
      .max_sequences = 24, .max_batch_tokens = 48, .page_size = 16, .num_pages = 60, .max_model_len = 90};
  std::map<Key, Answer> first;
  for (int round = 0; round < 3; ++round) {
    DeviceEngine e(cpu, device, config);
    for (const GroupRequest& r : all) e.engine->submit(r);
    for (const SampledSequence& s : e.engine->run()) {
      const auto [place, added] = first.try_emplace({s.group, s.sample}, answer_of(s));
      if (!added) expect_same(answer_of(s), place->second, fmt::format("round {}, group {}", round, s.group));
      if (HasFatalFailure()) return;
    }
  }
}

// Weights change between steps: later tokens carry the new version and its probabilities.
TEST_P(EngineDevice, NewWeightsInTheMiddle) {
  Rng rng(test::fresh_seed());
  TinyModel cpu(device_config(GetParam(), 128, 2), rng.next_u64());
  DeviceModel device(cpu);
  DeviceEngine e(cpu, device,
                 {.max_sequences = 24, .max_batch_tokens = 64, .page_size = 16, .max_model_len = 90});
  GroupRequest r;
  r.prompt = {5, 6, 7, 8, 9};
  r.n = 8;
  r.max_tokens = 60;
  for (int i = 0; i < r.n; ++i) r.seeds.push_back(rng.next_u64());
  e.engine->submit(r);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(e.engine->step().empty());
  cpu.randomise(rng.next_u64());
  device.take(cpu);
  e.engine->set_version(1);
  std::vector<SampledSequence> got = e.engine->run();
  ASSERT_EQ(got.size(), 8U);
  double sum = 0;
  std::int64_t count = 0;
  for (const SampledSequence& s : got) {
    const std::vector<float> expected = cpu.trainer_logprobs(r.prompt, s.ids, 1.0F);
    for (std::size_t i = 0; i < s.ids.size(); ++i) {
      EXPECT_EQ(s.versions[i], i < 20 ? 0 : 1);
      if (i < 20) continue;
      sum += std::abs(static_cast<double>(s.logprobs[i]) - expected[i]);
      ++count;
    }
  }
  EXPECT_LT(sum / static_cast<double>(count), 0.02);
}

}  // namespace
}  // namespace rlcpp::rollout
