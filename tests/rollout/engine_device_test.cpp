// The engine on a GPU: what it samples has the probability that the CPU's trainer computes for it with the
// same weights, under every condition, and a run gives the same bits again.
#include <fmt/format.h>

#include "rollout/device_engine.h"

namespace rlcpp::rollout {
namespace {

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

// Weights change between steps: later tokens carry the new version and its probabilities. What was asked for
// before is not later.
TEST_P(EngineDevice, NewWeightsInTheMiddle) {
  Rng rng(test::fresh_seed());
  const bool ahead = rng.below(2) == 0;
  const std::size_t drawn = ahead ? 21 : 20;
  TinyModel cpu(device_config(GetParam(), 128, 2), rng.next_u64());
  DeviceModel device(cpu);
  DeviceEngine e(cpu, device,
                 {.max_sequences = 24,
                  .max_batch_tokens = 64,
                  .page_size = 16,
                  .max_model_len = 90,
                  .look_ahead = ahead});
  GroupRequest r;
  r.prompt = {5, 6, 7, 8, 9};
  r.n = 8;
  r.max_tokens = 60;
  for (int i = 0; i < r.n; ++i) r.seeds.push_back(rng.next_u64());
  e.engine->submit(r);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(e.engine->step().empty());
  e.engine->hold_for_weights();
  ASSERT_TRUE(e.engine->ready_for_weights());
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
      EXPECT_EQ(s.versions[i], i < drawn ? 0 : 1);
      if (i < drawn) continue;
      sum += std::abs(static_cast<double>(s.logprobs[i]) - expected[i]);
      ++count;
    }
  }
  EXPECT_LT(sum / static_cast<double>(count), 0.02);
}

}  // namespace
}  // namespace rlcpp::rollout
