// The committed matrix of 1, 2, 4 and 8 GPUs: its rows fit cards that are not here.
#include <set>

#include "world.h"

namespace rlcpp::test {
namespace {

struct Scaling : testing::Test {
  World world_;
  ProcessOutcome bench(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"bench", "@", RLCPP_SOURCE "/benchmarks/matrix-scaling.toml",
                                      "--results", world_ / "results"};
    words.insert(words.end(), more.begin(), more.end());
    return world_.run(words);
  }
};

// 80 GB cards have 79.18 GiB, a context takes 0.53 of them.
TEST_F(Scaling, EveryRowFitsCardsOf80GB) {
  const ProcessOutcome o = bench({"--plan-within", "78.6GiB", "--json"});
  ASSERT_EQ(o.code, 0) << o.out << o.err;
  const auto plans = nlohmann::json::parse(o.out);
  std::set<int> gpus;
  for (const auto& plan : plans) {
    const auto id = plan.at("id").get<std::string>();
    EXPECT_TRUE(plan.at("error").is_null()) << plan;
    EXPECT_GT(plan.at("planned_gib").get<double>(), 5) << id;
    EXPECT_LT(plan.at("planned_gib").get<double>(), 78.6) << id;
    const bool one = id.find("-1gpu") != std::string::npos, lora = id.find("lora") != std::string::npos;
    EXPECT_EQ(plan.at("zero").is_null(), one || lora) << id;
    // What docs/performance.md predicts for: all of them hold weights and gradients whole.
    if (!one && !lora && id.find("-8192-") != std::string::npos) {
      EXPECT_EQ(plan.at("zero"), 1) << id;
    }
    for (const int n : {1, 2, 4, 8}) {
      if (id.find("-" + std::to_string(n) + "gpu") != std::string::npos) gpus.insert(n);
    }
  }
  EXPECT_EQ(gpus, (std::set<int>{1, 2, 4, 8}));
}

TEST_F(Scaling, ARowThatDoesNotFitIsNamed) {
  const ProcessOutcome o = bench({"--plan-within", "40GiB", "--gpus", "8", "--only", "weak"});
  EXPECT_EQ(o.code, 4) << o.err;
  expect_has(o.out, {"| Qwen3-4B-sft-full-8192-8gpu-Recompute-weak | 1 |", "the memory plan does not fit"});
}

TEST_F(Scaling, RowsAreChosenByGpus) {
  const ProcessOutcome o = bench({"--gpus", "1,4", "--only", "strong", "--dry-run", "--json"});
  ASSERT_EQ(o.code, 0) << o.err;
  const auto rows = nlohmann::json::parse(o.out);
  EXPECT_EQ(rows.size(), 12U);
  for (const auto& row : rows) {
    const auto id = row.at("id").get<std::string>();
    EXPECT_TRUE(id.ends_with("gpu-None-strong") || id.ends_with("gpu-Recompute-strong")) << id;
    EXPECT_TRUE(id.find("-1gpu") != std::string::npos || id.find("-4gpu") != std::string::npos) << id;
    // A step has 32 rows whatever the number of GPUs.
    const auto command = row.at("command").get<std::vector<std::string>>();
    const auto rows_at = std::find_if(command.begin(), command.end(),
                                      [](const std::string& w) { return w.ends_with("batch-size"); });
    ASSERT_NE(rows_at, command.end());
    EXPECT_EQ(*(rows_at + 1), "32") << id;
  }
  const ProcessOutcome none = bench({"--gpus", "3"});
  EXPECT_EQ(none.code, 2);
  expect_has(none.err, {"no row of the matrix is to be run", "--gpus"});
}

// From one row of one GPU and the collectives of two: a section with a prediction for each number of GPUs,
// and what was not measured says so.
TEST_F(Scaling, ThePageHasTheSection) {
  world_.file("results/benchmark-one.json",
              R"({"config": {"type": "sft", "num_gpus": 1, "model_name": "Qwen/Qwen3-0.6B", "lora_rank": null,
      "seq_len": 8192, "ac": "None", "attention": "rlcpp", "micro_batches": 2, "scaling": "weak",
      "device_name": "NVIDIA H100 80GB HBM3", "commit_sha": "abcdef12", "timestamp": "2026-11-26T00:00:00Z",
      "success": true, "error_reason": null, "time_taken": 4},
      "metrics": {"mfu": {"mean": 47}, "throughput": {"mean": 73100}, "step_time": {"mean": 0.224},
      "peak_memory": {"gib": 21, "pct": 27}}})");
  world_.file("baselines/none.txt", "");
  std::filesystem::create_directories(world_ / "peers");
  const auto report = [&](const std::string& matrix, const std::string& more = "--no-check") {
    return world_.run({"report",
                       "--results",
                       world_ / "results",
                       "--baselines",
                       world_ / "baselines",
                       "--peers",
                       world_ / "peers",
                       "--history",
                       world_ / "history.jsonl",
                       "--scaling-matrix",
                       matrix,
                       "--collectives",
                       RLCPP_SOURCE "/benchmarks/collectives",
                       "--rollouts",
                       "",
                       "--rl",
                       "",
                       "--figures",
                       "",
                       more});
  };
  const ProcessOutcome o = report(RLCPP_SOURCE "/benchmarks/matrix-scaling.toml");
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string page = slurp(world_ / "results/BENCHMARKS.md");
  expect_has(page, {"## Scaling", "(../scaling.svg)", "### Weak", "### Strong",
                    "| Qwen/Qwen3-0.6B | SFT Full | 8192 | None | 73.10k | not measured (9",
                    "| Qwen/Qwen3-4B | RL Full | 8192 | Recompute | not measured | not measured |"});
  // The row is in no table of the model's.
  EXPECT_EQ(page.find("## Qwen/Qwen3-0.6B"), std::string::npos) << page;
  expect_has(slurp(world_ / "scaling.svg"), {"<svg", "SFT Full, predicted"});
  // The check knows section and plot: both right, then another plot, then no section.
  const std::string matrix = RLCPP_SOURCE "/benchmarks/matrix-scaling.toml";
  EXPECT_EQ(report(matrix, "--check").code, 0) << report(matrix, "--check").out;
  world_.file("scaling.svg", "<svg/>");
  EXPECT_EQ(report(matrix, "--check").code, 1);
  expect_has(report(matrix, "--check").out, {"scaling.svg is not the plot of these results"});
  ASSERT_EQ(report(matrix).code, 0);
  expect_has(report(world_ / "absent.toml", "--check").out, {"is not what the results say"});
  ASSERT_EQ(report(world_ / "absent.toml").code, 0);
  EXPECT_EQ(slurp(world_ / "results/BENCHMARKS.md").find("## Scaling"), std::string::npos);
}

}  // namespace
}  // namespace rlcpp::test
