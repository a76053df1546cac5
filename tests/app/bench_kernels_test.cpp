// rlcpp bench kernels as a user runs it, on the CPU.
#include <cmath>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class BenchKernels : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld(); }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::vector<std::string> kernels(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"bench",     "kernels", "--model.name",    *world_ / "model",
                                      "--device",  "cpu",     "--threads",       "1",
                                      "--seconds", "0.001",   "--rows",          "2",
                                      "--steps",   "1",       "--model.seq-len", "64"};
    for (const std::string& word : more) {
      const auto at = word.starts_with("--") ? std::find(words.begin(), words.end(), word) : words.end();
      if (at != words.end()) words.erase(at, at + 2);
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static Json measured(std::vector<std::string> more) {
    more.emplace_back("--json");
    const ProcessOutcome o = world_->run(kernels(more));
    EXPECT_EQ(o.code, 0) << o.err;
    return o.code == 0 ? Json::parse(o.out) : Json();
  }
  static SftWorld* world_;
};
SftWorld* BenchKernels::world_ = nullptr;

TEST_F(BenchKernels, TheSumIsThatOfTheTable) {
  for (const std::vector<std::string>& more : {std::vector<std::string>{},
                                               {"--model.ac"},
                                               {"--type", "rl", "--model.ac.mode", "selective"},
                                               {"--type", "rl", "--model.lora.rank", "4"},
                                               {"--micro-batch-size", "2"}}) {
    const Json result = measured(more);
    double seconds = 0, flops = 0;
    for (const Json& row : result["operations"]) {
      EXPECT_GT(row["seconds"].get<double>(), 0) << row;
      seconds += row["calls"].get<double>() * row["seconds"].get<double>();
      flops += row["calls"].get<double>() * row["flops"].get<double>();
    }
    EXPECT_NEAR(result["kernel_sum_seconds"].get<double>(), seconds, 1e-9 * seconds);
    EXPECT_EQ(result["flops"].get<double>(), flops);
    EXPECT_EQ(result["tokens"], 128);
    EXPECT_NEAR(result["tokens_per_second"].get<double>() * seconds, 128, 1e-6);
    ASSERT_EQ(result["step_seconds"].size(), 1U);
    EXPECT_NEAR(result["kernel_sum_of_step"].get<double>(), seconds / result["step_seconds"][0].get<double>(),
                1e-6);
  }
}

// Two rows at once are one row of two documents, not one longer document.
TEST_F(BenchKernels, RowsThatAreComputedTogetherAreTheSameWork) {
  const Json apart = measured({}), together = measured({"--micro-batch-size", "2"});
  EXPECT_EQ(apart["flops"], together["flops"]);
  const auto calls = [](const Json& result, const std::string& name) {
    int sum = 0;
    for (const Json& row : result["operations"]) sum += row["name"] == name ? row["calls"].get<int>() : 0;
    return sum;
  };
  EXPECT_EQ(calls(apart, "attention_forward"), 2 * calls(together, "attention_forward"));
  EXPECT_EQ(calls(apart, "adamw"), calls(together, "adamw"));
}

TEST_F(BenchKernels, SeveralRanksShareTheOptimizer) {
  const Json result = measured({"--ranks", "2"});
  double seconds = 0, alone = 0;
  for (const Json& row : result["operations"]) {
    alone += row["calls"].get<double>() * row["seconds"].get<double>();
    const bool shared = row["name"] == "adamw" || row["name"] == "sum_of_squares";
    EXPECT_EQ(row["share"], shared ? 0.5 : 1.0);
    seconds += row["calls"].get<double>() * row["seconds"].get<double>() * row["share"].get<double>();
  }
  EXPECT_NEAR(result["tokens_per_second"].get<double>() * seconds, 2 * 128, 1e-6);
  // The step that is measured beside it is of one rank that shares with nobody.
  EXPECT_NEAR(result["kernel_sum_of_step"].get<double>(), alone / result["step_seconds"][0].get<double>(),
              1e-6);
}

TEST_F(BenchKernels, StandsBesideTheResultOfTheSameRowAndOfNoOther) {
  const std::string file = *world_ / "against.json";
  const auto run =
      world_->run({"sft", "--bench", "--bench.output-json", file, "--model.name", *world_ / "model",
                   "--data.seq-len", "64", "--data.batch-size", "2", "--device", "cpu"});
  ASSERT_EQ(run.code, 0) << run.err;
  const double theirs = Json::parse(slurp(file))["metrics"]["throughput"]["mean"].get<double>();
  const Json result = measured({"--against", file});
  EXPECT_NEAR(result["against"]["kernel_sum_of_step"].get<double>(),
              theirs / result["tokens_per_second"].get<double>(), 1e-6);
  for (const auto& [key, value, part] : {std::tuple{"--model.seq-len", "32", "seq_len is 64, here it is 32"},
                                         {"--rows", "3", "rows a rank and step is 2, here it is 3"},
                                         {"--type", "rl", "type is sft, here it is rl"},
                                         {"--model.ac.mode", "full", "ac is None, here it is Recompute"},
                                         {"--model.lora.rank", "2", "none) is 0, here it is 2"},
                                         {"--ranks", "2", "ranks is 1, here it is 2"}}) {
    const auto o = world_->run(kernels({"--against", file, key, value}));
    EXPECT_EQ(o.code, 2) << key;
    expect_has(o.err, {"the result of another row", part});
  }
  EXPECT_EQ(world_->run(kernels({"--against", *world_ / "nothing.json"})).code, 2);
}

TEST_F(BenchKernels, PrintsATableHelpAndAPlan) {
  const auto o = world_->run(kernels({"--model.ac"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"operation", "TFLOP/s", "linear_backward_weight (+=)", "attention_backward", "adamw",
                     "kernel sum", "tokens/s", "kernel sum / step = "});
  expect_has(o.err, {"operation 1/", "step 1/1"});
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"bench", "kernels", "--help"}, {"help", "bench", "kernels"}}) {
    const auto help = world_->run(words);
    EXPECT_EQ(help.code, 0);
    expect_has(help.out, {"rlcpp bench kernels: ", "--micro_batch_size", "--against"});
  }
  const auto plan = world_->run(kernels({"--dry-run"}));
  EXPECT_EQ(plan.code, 0) << plan.err;
  expect_has(plan.out, {"activations", "planned"});
  EXPECT_EQ(plan.out.find("kernel sum"), std::string::npos);
}

TEST_F(BenchKernels, RefusesWhatCannotBe) {
  const auto refused = [&](const std::vector<std::string>& more, int code, const std::string& part) {
    const auto o = world_->run(kernels(more));
    EXPECT_EQ(o.code, code) << o.err;
    expect_has(o.err, {part});
  };
  refused({"--micro-batch-size", "3"}, 2, "not a multiple of micro_batch_size");
  refused({"--type", "dpo"}, 2, "sft");
  refused({"--memory-limit", "3MiB"}, 3, "memory");
}

}  // namespace
}  // namespace rlcpp::test
