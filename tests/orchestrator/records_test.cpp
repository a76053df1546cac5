// What is written about a batch: metrics and rollout lines.
#include <gtest/gtest.h>

#include <bit>
#include <sstream>

#include <nlohmann/json.hpp>

#include "orchestrator/metrics.h"
#include "orchestrator/rollout_log.h"
#include "orchestrator/stub_policy.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

Rollout rollout_of(std::int64_t id, double reward, std::int64_t length, bool truncated = false) {
  Rollout rollout;
  rollout.id = id;
  rollout.reward = reward;
  rollout.ids.assign(static_cast<std::size_t>(length), 7);
  rollout.logprobs.assign(static_cast<std::size_t>(length), -0.1F);
  rollout.versions.assign(static_cast<std::size_t>(length), 3);
  rollout.finish = truncated ? rollout::FinishReason::kLength : rollout::FinishReason::kStop;
  rollout.parts = {{"exact", reward}};
  return rollout;
}

std::vector<Group> batch() {
  std::vector<Group> groups(3);
  for (std::size_t g = 0; g < 3; ++g) {
    groups[g].id = static_cast<std::int64_t>(g);
    groups[g].task.prompt = {{"user", "what?"}};
    groups[g].task.answer = "that";
  }
  groups[0].prompt_ids = {1, 2};
  groups[0].rollouts = {rollout_of(0, 1, 4), rollout_of(1, 1, 6)};
  groups[1].prompt_ids = {1, 2, 3};
  groups[1].rollouts = {rollout_of(2, 0, 10, true), rollout_of(3, 0, 2)};
  groups[2].prompt_ids = {1, 2, 3, 4};
  groups[2].example.env = 1;
  groups[2].rollouts = {rollout_of(4, 0.5, 1), rollout_of(5, 0, 3)};
  groups[2].rollouts[1].error = "ScoreError";
  for (std::size_t g = 0; g < 3; ++g) {
    for (std::size_t i = 0; i < 2; ++i) {
      groups[g].rollouts[i].generation_ms = 10.0 * static_cast<double>(g + 1) * static_cast<double>(i + 1);
      groups[g].rollouts[i].scoring_ms = groups[g].rollouts[i].generation_ms / 10;
    }
  }
  return groups;
}

Environments two_environments() {
  return Environments({testing::adding("add", 5), testing::adding("more", 5)}, testing::byte_codec());
}

TEST(BatchMetrics, NumbersByHand) {
  const Environments environments = two_environments();
  const BatchSummary summary = summarise(batch());
  EXPECT_EQ(summary.rollouts, 6);
  EXPECT_EQ(summary.solved_all, 1);
  EXPECT_EQ(summary.solved_none, 1);
  EXPECT_EQ(summary.prompt_tokens, 18);
  EXPECT_EQ(summary.completion_tokens, 26);
  const monitor::Metrics m = batch_metrics(batch(), environments);
  EXPECT_DOUBLE_EQ(m.get("reward/mean"), 2.5 / 6);
  EXPECT_DOUBLE_EQ(m.get("reward/add"), 0.5);
  EXPECT_DOUBLE_EQ(m.get("reward/more"), 0.25);
  EXPECT_DOUBLE_EQ(m.get("completion_len/mean"), (5 + 6 + 2) / 3.0);  // of group means
  EXPECT_DOUBLE_EQ(m.get("completion_len/max"), 6);
  EXPECT_DOUBLE_EQ(m.get("completion_len/min"), 2);
  EXPECT_DOUBLE_EQ(m.get("prompt_len/mean"), 3);
  EXPECT_DOUBLE_EQ(m.get("num_turns/mean"), 1);
  EXPECT_DOUBLE_EQ(m.get("generation_ms/mean"), (15 + 30 + 45) / 3.0);
  EXPECT_DOUBLE_EQ(m.get("generation_ms/min"), 15);
  EXPECT_DOUBLE_EQ(m.get("scoring_ms/max"), 4.5);
  EXPECT_DOUBLE_EQ(m.get("seq_len/max"), 9);
  EXPECT_DOUBLE_EQ(m.get("is_truncated/mean"), 0.5 / 3);
  EXPECT_DOUBLE_EQ(m.get("is_truncated/max"), 0.5);
  EXPECT_DOUBLE_EQ(m.get("batch/solve_all"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.get("batch/solve_none"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.get("batch/effective_batch_size"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.get("batch/add"), 4.0 / 6);
  EXPECT_DOUBLE_EQ(m.get("metrics/exact"), 2.5 / 6);
  EXPECT_DOUBLE_EQ(m.get("error/mean"), 1.0 / 6);
  EXPECT_DOUBLE_EQ(m.get("error/ScoreError"), 1.0 / 6);
}

TEST(RolloutLines, OneObjectARolloutWithItsGroup) {
  const Environments environments = two_environments();
  std::istringstream lines(rollout_lines(batch(), environments, {12, -1, true}));
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(rows.size(), 6U);
  EXPECT_EQ(rows[2]["id"], 2);
  EXPECT_EQ(rows[2]["step"], 12);
  EXPECT_EQ(rows[2]["group"], 1);
  EXPECT_EQ(rows[2]["env"], "add");
  EXPECT_EQ(rows[2]["truncated"], true);
  EXPECT_EQ(rows[2]["finish"], "length");
  EXPECT_EQ(rows[2]["version"], (std::vector<int>{3, 3}));
  EXPECT_EQ(rows[2]["prompt"][0]["content"], "what?");
  EXPECT_EQ(rows[2]["completion_ids"].size(), 10U);
  EXPECT_EQ(rows[2]["prompt_ids"], (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(rows[2].contains("error"));
  EXPECT_EQ(rows[5]["error"], "ScoreError");
  EXPECT_EQ(rows[5]["env"], "more");
  EXPECT_EQ(rollout_lines(batch(), environments, {12, 0, false}), "");
  const std::string one = rollout_lines(batch(), environments, {12, 1, false});
  EXPECT_EQ(std::count(one.begin(), one.end(), '\n'), 2);
  EXPECT_EQ(one.find("logprobs"), std::string::npos);
}

TEST(RolloutLines, TokensComeBackBitForBitAndAreNeverEmptyText) {
  const Environments environments = two_environments();
  Rng rng(rlcpp::test::fresh_seed());
  std::vector<Group> groups = batch();
  Rollout& rollout = groups[0].rollouts[0];
  rollout.ids = {'o', 'k', 0};
  rollout.responses = {"ok"};
  rollout.logprobs = {-0.1F, 0.0F, -3.4028235e38F, -1e-45F};
  for (int i = 0; i < 3000; ++i) {
    const auto bits = static_cast<std::uint32_t>(rng.below(0x7F800000U));  // any finite magnitude
    rollout.logprobs.push_back(-std::bit_cast<float>(bits));
  }
  groups[0].rollouts[1].ids = {0, 0};
  groups[0].rollouts[1].responses = {""};
  std::istringstream lines(rollout_lines(groups, environments, {1, 1}));  // tokens unless switched off
  std::string first, second;
  std::getline(lines, first);
  std::getline(lines, second);
  const auto row = nlohmann::json::parse(first);
  EXPECT_EQ(row["completion"], "ok<end>");
  EXPECT_EQ(nlohmann::json::parse(second)["completion"], "<end><end>");
  EXPECT_EQ(row["completion_ids"], (std::vector<int>{'o', 'k', 0}));
  EXPECT_NE(first.find("\"logprobs\":[-0.1,"), std::string::npos) << first.substr(0, 600);
  ASSERT_EQ(row["logprobs"].size(), rollout.logprobs.size());
  for (std::size_t t = 0; t < rollout.logprobs.size(); ++t)
    EXPECT_EQ(row["logprobs"][t].get<float>(), rollout.logprobs[t]);
}

TEST(RolloutLines, HostileTextCannotDriveATerminal) {
  const Environments environments = two_environments();
  Rng rng(rlcpp::test::fresh_seed());
  std::vector<Group> groups = batch();
  std::string all;
  for (int c = 0; c < 0x100; ++c)
    all += c < 0x80 ? std::string(1, static_cast<char>(c))
                    : std::string{static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
  all += "\x1b[2J\xC2\x9B";
  groups[0].rollouts[0].ids.clear();
  for (const char c : all) groups[0].rollouts[0].ids.push_back(static_cast<unsigned char>(c));
  for (std::uint64_t i = 0; i < 300; ++i)
    groups[0].rollouts[1].ids.push_back(static_cast<std::int32_t>(rng.below(256)));
  const std::string text = rollout_lines(groups, environments, {0, 1, false});
  std::size_t newlines = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    newlines += byte == '\n' ? 1 : 0;
    EXPECT_TRUE(byte == '\n' || (byte >= 0x20 && byte != 0x7F)) << static_cast<int>(byte);
    const bool c1 = byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) <= 0x9F;
    EXPECT_FALSE(c1);
  }
  EXPECT_EQ(newlines, 2U);
  const std::string first = text.substr(0, text.find('\n'));
  EXPECT_EQ(nlohmann::json::parse(first)["completion"],
            environments.codec().whole_text(groups[0].rollouts[0].ids));  // nothing is lost
}

}  // namespace
}  // namespace rlcpp::orchestrator
