// Every key of prime-rl as of January 2026 (tests/data/config/january_keys.json, by
// tools/list_january_keys.py) is honoured, or answered with a sentence that says what happens instead.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/world.h"

namespace rlcpp::test {
namespace {

using nlohmann::json;

const json& table() {
  static const json read =
      json::parse(slurp(std::string(RLCPP_SOURCE) + "/tests/data/config/january_keys.json"));
  return read;
}

// The value as a flag has it.
std::string flag_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "None" : value.dump();
}

std::vector<std::string> words(const std::string& command, const json& entry, const std::string& value) {
  std::vector<std::string> out = {"config", "check", command};
  const std::string own = entry["key"].get<std::string>();
  const json with = entry.value("with", json::object());
  for (const auto& [key, given] : with.items()) {
    if (key != own) out.push_back("--" + key + "=" + flag_text(given));
  }
  out.push_back("--" + own + "=" + value);
  return out;
}

// One sentence, with its mending, and not the answer that a misspelt key gets.
void expect_sentence(const ProcessOutcome& outcome, const std::string& key) {
  EXPECT_EQ(outcome.code, 2) << key << ": " << outcome.err;
  EXPECT_EQ(outcome.err.find("is not a known key"), std::string::npos) << key << ": " << outcome.err;
  EXPECT_NE(outcome.err.find("not supported"), std::string::npos) << key << ": " << outcome.err;
  EXPECT_TRUE(outcome.err.find("help") != std::string::npos || outcome.err.find(": ") != std::string::npos)
      << key << ": " << outcome.err;
}

class January : public testing::TestWithParam<const char*> {};

TEST_P(January, KeysAreHonouredOrAnsweredWithASentence) {
  const World world;
  const std::string command = GetParam();
  int honoured = 0, answered = 0;
  std::string log;
  for (const json& entry : table()[command]) {
    const std::string key = entry["key"].get<std::string>();
    const ProcessOutcome outcome = world.run(words(command, entry, flag_text(entry["value"])));
    if (outcome.code == 0) {
      ++honoured;
    } else {
      ++answered;
      expect_sentence(outcome, key);
      log += key + "\n    " + outcome.err;
    }
  }
  RecordProperty("honoured", honoured);
  RecordProperty("answered", answered);
  std::printf("%s: %d honoured, %d answered with a sentence\n", command.c_str(), honoured, answered);
  if (std::getenv("RLCPP_SHOW_ANSWERS") != nullptr) std::fputs(log.c_str(), stdout);
  EXPECT_EQ(honoured + answered, static_cast<int>(table()[command].size()));
  EXPECT_GT(honoured, answered / 2);  // rl has the keys of servers that it does not start
}

// A default that is None must be accepted as None: the reference's own resolved files hold it.
TEST_P(January, NoneIsAcceptedWhereTheReferenceHasIt) {
  const World world;
  const std::string command = GetParam();
  int seen = 0;
  for (const json& entry : table()[command]) {
    if (!entry["none"].get<bool>()) continue;
    const std::string key = entry["key"].get<std::string>();
    const ProcessOutcome outcome = world.run(words(command, entry, "None"));
    if (outcome.code != 0) expect_sentence(outcome, key);
    ++seen;
  }
  EXPECT_GT(seen, 10);
}

INSTANTIATE_TEST_SUITE_P(Commands, January, testing::Values("sft", "trainer", "orchestrator", "rl"),
                         [](const auto& one) { return std::string(one.param); });

// The walk can fail: a key that the reference never had gets the other answer.
TEST(JanuaryKeys, AKeyThatNeverWasIsUnknown) {
  const World world;
  const ProcessOutcome outcome = world.run({"config", "check", "sft", "--model.nonsense=1"});
  EXPECT_EQ(outcome.code, 2);
  expect_has(outcome.err, {"model.nonsense is not a known key"});
}

TEST(LaterNames, MeanTheSameKey) {
  const World world;
  const ProcessOutcome outcome = world.run(
      {"config", "check", "orchestrator", "--group-size", "8", "--sampling.max-completion-tokens", "77"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  expect_has(outcome.out, {"rollouts_per_example = 8  # command line", "max_tokens = 77  # command line"});
}

TEST(LaterNames, TwoNamesOfOneKeyInAFileAreAnError) {
  const World world;
  const std::string file = world.file("both.toml", "rollouts_per_example = 4\ngroup_size = 8\n");
  const ProcessOutcome outcome = world.run({"config", "check", "orchestrator", "@", file});
  EXPECT_EQ(outcome.code, 2);
  expect_has(outcome.err, {"both.toml:2", "group_size and rollouts_per_example are two names of one key"});
}

TEST(ConfigCheck, SaysEverythingThatIsWrongInAFile) {
  const World world;
  const std::string file = world.file(
      "wrong.toml", "[model]\ncompile = true\ntp = 2\nep = 1\n[optim]\nlr = -1\n[wandb]\noffline = true\n");
  const ProcessOutcome outcome = world.run({"config", "check", "sft", "@", file});
  EXPECT_EQ(outcome.code, 2);
  expect_has(outcome.err, {"model.compile", "model.tp", "optim.lr"});
  EXPECT_EQ(outcome.err.find("model.ep"), std::string::npos);
}

TEST(ConfigCheck, ReadsASwitchWhereTheReferenceHadOne) {
  const World world;
  const std::string file = world.file("bench.toml", "bench = true\nval = false\n");
  const ProcessOutcome outcome = world.run({"config", "check", "sft", "@", file});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  expect_has(outcome.out, {"[bench]", "val = \"None\""});
}

}  // namespace
}  // namespace rlcpp::test
