#include "orchestrator/buffer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support.h"

namespace rlcpp::orchestrator {
namespace {

Buffer::Source source(const std::string& name, std::int64_t size, std::uint64_t shift = 0) {
  return {name, size, [name, shift](std::int64_t i) {
            return std::hash<std::string>{}(name) + static_cast<std::uint64_t>(i) + shift;
          }};
}

TEST(Buffer, DrawsUniformlyAndRepeatably) {
  const std::uint64_t seed = rlcpp::test::fresh_seed();
  Buffer buffer({}, {source("a", 10), source("b", 30)}, seed);
  Buffer again({}, {source("a", 10), source("b", 30)}, seed);
  std::vector<int> counts(40, 0);
  for (int i = 0; i < 40'000; ++i) {
    const Example example = buffer.sample();
    ASSERT_EQ(again.sample(), example);
    ++counts[static_cast<std::size_t>(example.env * 10 + example.index)];
  }
  // 1,000 expected each; chi-square with 39 degrees of freedom is below 90 but for one seed in 200,000.
  double chi = 0;
  for (const int count : counts) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 90.0);
}

TEST(Buffer, RatiosDecideTheEnvironment) {
  BufferSection section;
  section.env_ratios = {3, 1};
  Buffer buffer(section, {source("a", 5), source("b", 500)}, rlcpp::test::fresh_seed());
  int first = 0;
  for (int i = 0; i < 20'000; ++i) first += buffer.sample().env == 0 ? 1 : 0;
  EXPECT_NEAR(first / 20'000.0, 0.75, 0.02);
}

TEST(Buffer, OwnSeedWins) {
  BufferSection section;
  section.seed = 5;
  Buffer one(section, {source("a", 1000)}, 1), two(section, {source("a", 1000)}, 2);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(one.sample(), two.sample());
}

TEST(Buffer, ThresholdsEvict) {
  BufferSection section;
  section.easy_threshold = 0.9;
  section.hard_threshold = 0.1;
  Buffer buffer(section, {source("a", 4)}, 1);
  EXPECT_TRUE(buffer.update({0, 0}, std::vector<double>{1, 0.8}));  // 0.9: easy, yet trained
  EXPECT_TRUE(buffer.update({0, 1}, std::vector<double>{0, 0.2}));  // 0.1: hard
  EXPECT_TRUE(buffer.update({0, 2}, std::vector<double>{0.5, 0.5}));
  EXPECT_TRUE(buffer.update({0, 0}, std::vector<double>{1, 1}));  // in flight twice
  const monitor::Metrics metrics = buffer.metrics();
  EXPECT_EQ(metrics.get("pool/easy"), 0.25);
  EXPECT_EQ(metrics.get("pool/hard"), 0.25);
  EXPECT_EQ(metrics.get("pool/normal"), 0.5);
  EXPECT_EQ(metrics.get("evicted_examples/easy"), 0.5);
  EXPECT_EQ(metrics.get("evicted_examples/hard"), 0.25);
  EXPECT_EQ(metrics.get("filtered_rollouts/easy"), 0.0);
  EXPECT_EQ(buffer.metrics().get("evicted_examples/easy"), 0.0);  // counts start again
  for (int i = 0; i < 100; ++i) EXPECT_GE(buffer.sample().index, 2);
  buffer.exclude({0, 2});
  buffer.exclude({0, 3});
  EXPECT_EQ(buffer.normal_examples(), 0);
  EXPECT_THROW(buffer.sample(), Error);
}

TEST(Buffer, OnlineFilteringDropsExactlyZeroAndOne) {
  BufferSection section;
  section.online_difficulty_filtering = true;
  Buffer buffer(section, {source("a", 9)}, 1);
  EXPECT_FALSE(buffer.update({0, 0}, std::vector<double>(16, 1.0)));
  EXPECT_FALSE(buffer.update({0, 1}, std::vector<double>(16, 0.0)));
  EXPECT_TRUE(buffer.update({0, 2}, std::vector<double>{1, 1, 0.999}));
  EXPECT_TRUE(buffer.update({0, 3}, std::vector<double>{0, 0, 1e-9}));
  EXPECT_TRUE(buffer.update(
      {0, 4}, std::vector<double>{0.5, 0.5}));  // no spread, but reward in between: kept, as in the reference
  const monitor::Metrics metrics = buffer.metrics();
  EXPECT_EQ(metrics.get("filtered_rollouts/easy"), 16.0 / 40.0);
  EXPECT_EQ(metrics.get("filtered_rollouts/hard"), 16.0 / 40.0);
  EXPECT_EQ(buffer.normal_examples(), 9);
}

TEST(Buffer, RestoredBufferContinuesTheSameDraws) {
  BufferSection section;
  section.easy_threshold = 0.7;
  section.hard_threshold = 0.2;
  const std::uint64_t seed = rlcpp::test::fresh_seed();
  const auto sources = [] { return std::vector<Buffer::Source>{source("a", 40), source("b", 60)}; };
  Buffer whole(section, sources(), seed);
  Rng rewards(seed + 1);
  const auto play = [](Buffer& buffer, Rng& rng, int rounds) {
    std::vector<Example> drawn;
    for (int i = 0; i < rounds; ++i) {
      drawn.push_back(buffer.sample());
      const double reward = rng.uniform_double();
      if (reward < 0.05) {
        buffer.exclude(drawn.back());
      } else {
        buffer.update(drawn.back(), std::vector<double>{reward});
      }
    }
    return drawn;
  };
  play(whole, rewards, 60);
  const nlohmann::json saved = nlohmann::json::parse(whole.state().dump());
  Rng rewards_after = rewards;
  Buffer resumed(section, sources(), seed);
  EXPECT_TRUE(resumed.restore(saved).empty());
  EXPECT_EQ(resumed.state(), saved);
  EXPECT_EQ(play(whole, rewards, 30), play(resumed, rewards_after, 30));
}

TEST(Buffer, RestoreFindsExamplesByContent) {
  BufferSection section;
  section.easy_threshold = 0.5;
  Buffer before(section, {source("a", 10)}, 1);
  for (const std::int64_t index : {2, 7, 9}) before.update({0, index}, std::vector<double>{1.0});
  // The new data starts three rows later: what was 7 is 4 now, what was 2 is gone.
  Buffer after(section, {source("a", 10, 3)}, 1);
  const std::vector<std::string> notes = after.restore(before.state());
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find("1 easy or hard examples of environment 'a'"), std::string::npos);
  EXPECT_EQ(after.normal_examples(), 8);
  const nlohmann::json state = after.state();
  EXPECT_EQ(state["environments"][0]["easy"][0][0], 4);
  EXPECT_EQ(state["environments"][0]["easy"][1][0], 6);
  Buffer other(section, {source("c", 10)}, 1);
  EXPECT_NE(other.restore(before.state()).at(0).find("'a'"), std::string::npos);
}

TEST(Buffer, FractionsGiveExamplesBackOnResume) {
  BufferSection section;
  section.easy_threshold = 0.5;
  section.hard_threshold = 0.1;
  Buffer before(section, {source("a", 100)}, 1);
  for (std::int64_t i = 0; i < 40; ++i) before.update({0, i}, std::vector<double>{1.0});
  for (std::int64_t i = 40; i < 60; ++i) before.update({0, i}, std::vector<double>{0.0});
  section.easy_fraction = 0.25;
  section.hard_fraction = 1.0;
  Buffer after(section, {source("a", 100)}, 1);
  after.restore(before.state());
  EXPECT_EQ(after.normal_examples(), 40 + 10 + 20);
  EXPECT_EQ(after.metrics().get("pool/easy"), 0.3);
}

TEST(Buffer, MalformedStateIsBadInput) {
  Buffer buffer({}, {source("a", 4)}, 1);
  for (const char* text : {"{}", "[]", R"({"rng_position": "x", "environments": []})",
                           R"({"rng_position": 1, "environments": [{}]})"}) {
    try {
      buffer.restore(nlohmann::json::parse(text));
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::kBadInput);
    }
  }
}

}  // namespace
}  // namespace rlcpp::orchestrator
