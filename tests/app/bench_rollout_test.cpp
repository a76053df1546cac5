// rlcpp bench rollout as a user runs it, on the CPU.
#include <set>

#include "sft_run.h"
#include "ways_out.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class BenchRollout : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld(); }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::vector<std::string> rollout(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"bench",    "rollout", "--model.name", *world_ / "model",
                                      "--device", "cpu",     "--threads",    "2",
                                      "--scale",  "0.02"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static const Json& load_of(const Json& result, const std::string& name, const std::string& variant) {
    for (const Json& load : result["loads"]) {
      if (load["load"] == name && load["variant"] == variant) return load;
    }
    throw std::runtime_error("no load " + name);
  }
  static SftWorld* world_;
};
SftWorld* BenchRollout::world_ = nullptr;

TEST_F(BenchRollout, EveryLoadIsMeasuredAgainstTheRoofline) {
  const std::string file = *world_ / "rollout.json";
  const ProcessOutcome o = world_->run(rollout({"--repeats", "2", "--json", "--output-json", file}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(slurp(file), o.out);
  const Json result = Json::parse(o.out);
  EXPECT_EQ(result["kind"], "rollout");
  EXPECT_EQ(result["config"]["engine"], "rlcpp");
  EXPECT_EQ(result["config"]["numeric_mode"], "exact");
  EXPECT_GT(result["roofline"]["bytes_per_second"].get<double>(), 0);
  ASSERT_EQ(result["loads"].size(), 6U);
  for (const Json& load : result["loads"]) {
    SCOPED_TRACE(load.dump());
    const double seconds = load["seconds"].get<double>();
    EXPECT_GT(seconds, 0);
    EXPECT_EQ(load["seconds_each"].size(), 2U);
    EXPECT_GT(load["ratio"].get<double>(), 0);  // above 1 where caches hold the whole model
    EXPECT_GT(load["roofline_seconds"].get<double>(), 0);
    double parts = 0;
    for (const auto& [name, value] : load["time_line"].items()) {
      EXPECT_GE(value.get<double>(), 0) << name;
      parts += value.get<double>();
    }
    EXPECT_NEAR(parts, seconds, 1e-6);
    EXPECT_NEAR(load["output_tokens_per_second"].get<double>() * seconds, load["output_tokens"].get<double>(),
                1e-6);
    EXPECT_EQ(load["preemptions"], 0);
    // What was computed or found again is what was asked for.
    EXPECT_GE(load["prefill_tokens"].get<int>() + load["cached_tokens"].get<int>(),
              load["prompt_tokens"].get<int>());
  }
  EXPECT_EQ(load_of(result, "nano", "")["sequences"], 5);
  EXPECT_EQ(load_of(result, "decode", "batch 8")["sequences"], 8);
  // Separate prompts share nothing, whatever they have in common; those of a group are computed once.
  EXPECT_EQ(load_of(result, "groups", "separate prompts")["cached_tokens"], 0);
  const Json& shared = load_of(result, "groups", "shared prompts");
  EXPECT_EQ(shared["cached_tokens"].get<int>() + shared["prompt_tokens"].get<int>() / 16,
            shared["prompt_tokens"].get<int>());
  EXPECT_GT(result["shared_over_separate"].get<double>(), 0);
}

TEST_F(BenchRollout, PrintsATableAndPlans) {
  const ProcessOutcome o = world_->run(rollout({"--load", "groups"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"groups, shared prompts", "groups, separate prompts", "roofline s", "scheduler",
                     "times as fast as separate ones", "mode exact", "measured with 2 threads"});
  EXPECT_EQ(o.out.find("nano"), std::string::npos);
  const ProcessOutcome dry = world_->run(rollout({"--dry-run"}));
  ASSERT_EQ(dry.code, 0) << dry.err;
  expect_has(dry.out, {"kv cache", "planned"});
}

// A cache that holds few of the sequences: they wait or are computed again, and all are counted.
TEST_F(BenchRollout, ASmallCacheGivesTheSameTokens) {
  const ProcessOutcome o = world_->run(rollout(
      {"--load", "nano", "--num-pages", "12", "--page-size", "4", "--max-batch-tokens", "16", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json result = Json::parse(o.out);
  EXPECT_EQ(result["config"]["num_pages"], 12);
  EXPECT_EQ(result["loads"].at(0)["sequences"], 5);
}

TEST_F(BenchRollout, RefusesWhatItCannotDo) {
  for (const auto& [more, words] : std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"--load", "chat"}, {"load", "nano"}},
           {{"--scale", "0"}, {"scale"}},
           {{"--output-json", "/nonexistent/folder/x.json"}, {"output_json"}},
           {{"--memory-limit", "1MiB"}, {"--scale"}}}) {
    const ProcessOutcome o = world_->run(rollout(more));
    EXPECT_NE(o.code, 0) << more.front();
    EXPECT_TRUE(o.out.empty()) << o.out;
    for (const std::string& word : words) EXPECT_NE(o.err.find(word), std::string::npos) << o.err;
  }
}

}  // namespace
}  // namespace rlcpp::test
