#include "orchestrator/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/rng.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

Group group_of(std::vector<std::int32_t> prompt, std::vector<std::vector<std::int32_t>> completions) {
  Group group;
  group.prompt_ids = std::move(prompt);
  for (std::vector<std::int32_t>& ids : completions) {
    Rollout rollout;
    rollout.ids = std::move(ids);
    for (std::size_t t = 0; t < rollout.ids.size(); ++t)
      rollout.logprobs.push_back(-1.0F - static_cast<float>(t));
    rollout.versions.assign(rollout.ids.size(), 0);
    group.rollouts.push_back(std::move(rollout));
  }
  return group;
}

TEST(MakeSample, PromptIsContextCompletionIsTrained) {
  Group group = group_of({5, 6, 7}, {{8, 9}});
  group.rollouts[0].advantage = -0.25;
  const data::Sample sample = make_sample(group, group.rollouts[0], 0.5, 100, 42);
  EXPECT_EQ(sample.ids, (std::vector<std::int32_t>{5, 6, 7, 8, 9}));
  EXPECT_EQ(sample.mask, (std::vector<std::uint8_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(sample.inference_logprobs, (std::vector<float>{0, 0, 0, -1, -2}));
  EXPECT_EQ(sample.advantages, (std::vector<float>{0, 0, 0, -0.25F, -0.25F}));
  EXPECT_EQ(sample.temperature, 0.5F);
  EXPECT_EQ(sample.index, 42);
  EXPECT_TRUE(sample.teacher_logprobs.empty());
}

TEST(MakeSample, CutToSeqLenAndErrorsMasked) {
  Group group = group_of({5, 6, 7}, {{8, 9, 10}});
  EXPECT_EQ(make_sample(group, group.rollouts[0], 1, 5, 0).ids, (std::vector<std::int32_t>{5, 6, 7, 8, 9}));
  const data::Sample prompt_only = make_sample(group, group.rollouts[0], 1, 2, 0);
  EXPECT_EQ(prompt_only.ids, (std::vector<std::int32_t>{5, 6}));
  EXPECT_EQ(prompt_only.mask, (std::vector<std::uint8_t>{0, 0}));
  group.rollouts[0].error = "ScoreError";
  EXPECT_EQ(make_sample(group, group.rollouts[0], 1, 100, 0).mask, (std::vector<std::uint8_t>(6, 0)));
}

TEST(SetAdvantages, WithinEachGroup) {
  std::vector<Group> groups = {group_of({1}, {{1}, {2}}), group_of({1}, {{1}, {2}})};
  groups[0].rollouts[0].reward = 1;
  groups[1].rollouts[0].reward = 0.5;
  groups[1].rollouts[1].reward = 0.5;
  set_advantages(groups, algorithm("grpo"));
  EXPECT_EQ(groups[0].rollouts[0].advantage, 0.5);
  EXPECT_EQ(groups[0].rollouts[1].advantage, -0.5);
  EXPECT_EQ(groups[1].rollouts[0].advantage, 0.0);
}

data::Sample sample_of(std::int64_t length, std::int64_t index, bool trained = true) {
  data::Sample sample;
  sample.ids.assign(static_cast<std::size_t>(length), static_cast<std::int32_t>(index));
  sample.mask.assign(static_cast<std::size_t>(length), trained ? 1 : 0);
  sample.mask[0] = 0;
  sample.inference_logprobs.assign(static_cast<std::size_t>(length), -1.0F);
  sample.advantages.assign(static_cast<std::size_t>(length), 1.0F);
  sample.index = index;
  return sample;
}

TEST(PackRows, EverySampleOnceInRowsThatFit) {
  Rng rng(rlcpp::test::fresh_seed());
  for (int round = 0; round < 60; ++round) {
    const auto limit = static_cast<std::int64_t>(20 + rng.below(200));
    std::vector<data::Sample> samples;
    std::int64_t total = 0;
    std::set<std::int64_t> expected;
    for (std::int64_t i = static_cast<std::int64_t>(rng.below(60)); i > 0; --i) {
      const auto length = static_cast<std::int64_t>(2 + rng.below(static_cast<std::uint64_t>(limit) - 1));
      const bool trained = rng.below(8) != 0;
      samples.push_back(sample_of(length, i, trained));
      if (!trained) continue;
      total += length;
      expected.insert(i);
    }
    const std::vector<data::MicroBatch> rows = pack_rows(samples, limit);
    std::set<std::int64_t> seen;
    std::int64_t tokens = 0;
    for (const data::MicroBatch& row : rows) {
      EXPECT_TRUE(row.rl);
      EXPECT_LE(row.tokens(), limit);
      EXPECT_GT(row.loss_tokens(), 0);
      tokens += row.tokens();
      for (const std::int64_t index : row.sample_index) EXPECT_TRUE(seen.insert(index).second);
      EXPECT_TRUE(std::is_sorted(row.cu_seqlens.begin(), row.cu_seqlens.end()));
    }
    EXPECT_EQ(seen, expected);
    EXPECT_EQ(tokens, total);
    // First-fit decreasing: at most 11/9 of the best plus one (Dosa 2007); the best is at least total /
    // limit.
    const auto lower = static_cast<double>((total + limit - 1) / limit);
    if (total > 0) {
      EXPECT_LE(static_cast<double>(rows.size()), std::max(11.0 / 9.0 * lower + 1, 2.0 * lower)) << total;
    }
  }
}

TEST(PackRows, RowsAreEvened) {
  std::vector<data::Sample> samples;
  for (std::int64_t i = 0; i < 21; ++i)
    samples.push_back(sample_of(10, i));  // two rows of 110: 11 and 10 samples, not 11 and 10 of 20
  const std::vector<data::MicroBatch> rows = pack_rows(samples, 200);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(std::max(rows[0].tokens(), rows[1].tokens()), 110);
  EXPECT_EQ(std::min(rows[0].tokens(), rows[1].tokens()), 100);
}

TEST(PackRows, TooLongIsRefused) {
  EXPECT_THROW(pack_rows({sample_of(11, 0)}, 10), Error);
  EXPECT_TRUE(pack_rows({}, 10).empty());
  EXPECT_TRUE(pack_rows({sample_of(5, 0, false)}, 10).empty());
}

}  // namespace
}  // namespace rlcpp::orchestrator
