// What requests may ask of the engine on a GPU: adapters, and draws that are truncated or penalised.
#include <fmt/format.h>

#include <filesystem>

#include "rollout/device_engine.h"
#include "rollout/tiny_adapter.h"

namespace rlcpp::rollout {
namespace {

class EngineDeviceRequests : public EngineDevice {};
INSTANTIATE_TEST_SUITE_P(, EngineDeviceRequests,
                         ::testing::Values(TinyKind::kQwen3, TinyKind::kQwen2, TinyKind::kLlama), kind_name);

// Adapters that requests choose, in mode exact: every bit of a trainer that has the adapter alone, in mixed
// batches, in graphs of one adapter, and once an adapter of another rank has taken its place.
TEST_P(EngineDeviceRequests, AdaptersAreTheirTrainersBitForBit) {
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

// Truncated distributions, penalties and forbidden ids, beside plain rows: what the host draws from the same
// logits. In mode exact, where a row's logits have the same bits in any batch, so has what is drawn.
TEST_P(EngineDeviceRequests, ShapedDrawsAreTheHosts) {
  Rng rng(test::fresh_seed());
  TinyModel cpu(device_config(GetParam(), 64, 2, 1000), rng.next_u64());
  DeviceModel device(cpu, ops::NumericMode::kExact);
  if (!ops::exact_attention(device.ctx, cpu.config.qkv())) GTEST_SKIP() << "no kernels for mode exact";
  std::vector<GroupRequest> all;
  for (int i = 0; i < 32; ++i) {
    GroupRequest r = random_request(cpu.config, 90, i, rng);
    r.stop_strings.clear();
    r.max_tokens = static_cast<std::int32_t>(20 + rng.below(30));
    r.min_tokens = 0;
    r.sampling = {.temperature = 0.5F + rng.uniform()};
    if (i % 8 == 0) r.sampling.top_p = 0.2F + 0.75F * rng.uniform();
    if (i % 8 == 1) r.sampling.top_k = static_cast<std::int32_t>(1 + rng.below(100));
    if (i % 8 == 2) r.sampling.min_p = 0.2F * rng.uniform();
    if (i % 8 == 3) r.sampling.repetition_penalty = 0.8F + rng.uniform();
    if (i % 8 == 4) r.sampling = {.temperature = 0, .repetition_penalty = 1.5F};
    if (i % 8 == 5) r.sampling = {0.8F, 50, 0.9F, 0.01F, 1.3F};
    if (i % 8 >= 5) {
      r.min_tokens = 10;  // the first of 10 that the model would say are forbidden, in lists and in bits
      const std::uint64_t count = i % 16 < 8 ? 5 : 400;
      for (std::uint64_t j = 0; j < count; ++j)
        r.stop_ids.push_back(static_cast<std::int32_t>(rng.below(900)));
    }
    if (i % 8 == 7) {  // plain and greedy, in the same batches
      r.min_tokens = 0;
      r.sampling.temperature = i % 16 == 7 ? 0.0F : 1.0F;
    }
    all.push_back(std::move(r));
  }
  const std::vector<EngineConfig> conditions = {
      {.max_sequences = 160, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90},
      {.max_sequences = 3, .max_batch_tokens = 256, .page_size = 16, .max_model_len = 90},
      {.max_sequences = 32, .max_batch_tokens = 40, .page_size = 32, .num_pages = 30, .max_model_len = 90}};
  std::map<Key, Answer> first;
  std::int64_t tokens = 0, unlike = 0;
  for (std::size_t c = 0; c < conditions.size(); ++c) {
    const std::string where = fmt::format("condition {}, seed {}", c, rng.seed());
    DeviceEngine e(cpu, device, conditions[c]);
    for (const GroupRequest& r : all) e.engine->submit(r);
    for (const SampledSequence& s : e.engine->run()) {
      const auto [place, added] = first.try_emplace({s.group, s.sample}, answer_of(s));
      if (!added) expect_same(answer_of(s), place->second, where);
      if (HasFatalFailure()) return;
      if (!added) continue;
      const GroupRequest& r = all[static_cast<std::size_t>(s.group)];
      std::vector<std::int32_t> seen = r.prompt;
      const auto logits = device.trainer_logits(cpu.config, r, s);
      for (std::size_t i = 0; i < s.ids.size(); ++i) {
        std::vector<float> row = logits[i];
        if (static_cast<std::int32_t>(i) < r.min_tokens) {
          for (const std::int32_t id : r.stop_ids) row[static_cast<std::size_t>(id)] = -INFINITY;
        }
        const ops::SampledToken token = ops::sample_raw_row(
            row, r.sampling, seen,
            ops::draw_uniform(r.seeds[static_cast<std::size_t>(s.sample)], static_cast<std::int64_t>(i)));
        ++tokens;
        if (token.id != s.ids[i]) {
          ++unlike;  // a uniform number at the border of two tokens
        } else {
          EXPECT_NEAR(token.logprob, s.logprobs[i], 1e-5 * (1 + std::abs(token.logprob)))
              << where << ", group " << s.group << ", token " << i;
        }
        seen.push_back(s.ids[i]);
      }
    }
  }
  EXPECT_GT(tokens, 500);
  EXPECT_LE(unlike, 1 + tokens / 500) << "of " << tokens;
}

}  // namespace
}  // namespace rlcpp::rollout
