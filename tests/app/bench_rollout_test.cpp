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
  const std::string file = *world_ / "new/folder/rollout.json";
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

// Other distributions, as many tokens.
TEST_F(BenchRollout, SamplesAsItIsTold) {
  const ProcessOutcome o =
      world_->run(rollout({"--load", "nano", "--top-p", "0.5", "--top-k", "7", "--min-p", "0.25",
                           "--repetition-penalty", "1.5", "--temperature", "0.5", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json result = Json::parse(o.out);
  EXPECT_EQ(result["config"]["top_p"], 0.5);
  EXPECT_EQ(result["config"]["top_k"], 7);
  EXPECT_EQ(result["config"]["min_p"], 0.25);
  EXPECT_EQ(result["config"]["repetition_penalty"], 1.5);
  EXPECT_EQ(result["config"]["temperature"], 0.5);
}

TEST_F(BenchRollout, RefusesWhatItCannotDo) {
  for (const auto& [more, words] : std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"--load", "chat"}, {"load", "nano"}},
           {{"--scale", "0"}, {"scale"}},
           {{"--top-p", "0"}, {"top_p"}},
           {{"--temperature", "0.001"}, {"temperature"}},
           {{"--memory-limit", "1MiB"}, {"--scale"}}}) {
    const ProcessOutcome o = world_->run(rollout(more));
    EXPECT_NE(o.code, 0) << more.front();
    EXPECT_TRUE(o.out.empty()) << o.out;
    for (const std::string& word : words) EXPECT_NE(o.err.find(word), std::string::npos) << o.err;
  }
}

// Result files are what the page's sections are made of, and the check knows the sections.
TEST_F(BenchRollout, ThePageHasTheSections) {
  world_->file("rollouts/notes.txt", "");
  world_->file("publication/notes.txt", "");
  ASSERT_EQ(
      world_
          ->run({"bench", "publication", "--model.name", *world_ / "model", "--device", "cpu", "--threads",
                 "1", "--repeats", "2", "--output-json", *world_ / "publication/tiny.json"})
          .code,
      0);
  ASSERT_EQ(world_->run(rollout({"--load", "groups", "--output-json", *world_ / "rollouts/tiny.json"})).code,
            0);
  world_->file(
      "results/benchmark-one.json",
      R"({"config": {"type": "sft", "num_gpus": 1, "model_name": "Qwen/Qwen3-0.6B", "lora_rank": null,
      "seq_len": 8192, "ac": "None", "attention": "rlcpp", "micro_batches": 2,
      "device_name": "NVIDIA H100 80GB HBM3", "commit_sha": "abcdef12", "timestamp": "2026-11-26T00:00:00Z",
      "success": true, "error_reason": null, "time_taken": 4},
      "metrics": {"mfu": {"mean": 47}, "throughput": {"mean": 73100}, "step_time": {"mean": 0.224},
      "peak_memory": {"gib": 21, "pct": 27}}})");
  world_->file("baselines/none.txt", "");
  const auto report = [&](const std::string& rollouts, const std::string& more = "--no-check") {
    return world_->run({"report", "--results", *world_ / "results", "--baselines", *world_ / "baselines",
                        "--peers", "", "--history", *world_ / "history.jsonl", "--scaling-matrix",
                        *world_ / "absent.toml", "--figures", "", "--rollouts", rollouts, "--publication",
                        *world_ / "publication", more});
  };
  const ProcessOutcome o = report(*world_ / "rollouts");
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(
      slurp(*world_ / "results/BENCHMARKS.md"),
      {"## Rollouts", "| groups, shared prompts | rlcpp | exact, f32 | 16 |", "## Publication", " GB/s | "});
  EXPECT_EQ(report(*world_ / "rollouts", "--check").code, 0) << report(*world_ / "rollouts", "--check").out;
  // Another measurement, and the page is not the one of the results.
  const std::string file = *world_ / "publication/tiny.json", text = slurp(file);
  Json slower = Json::parse(text);
  slower["seconds"] = 2.5;
  world_->file("publication/tiny.json", slower.dump());
  const ProcessOutcome stale = report(*world_ / "rollouts", "--check");
  EXPECT_EQ(stale.code, 1);
  expect_has(stale.out, {"wrong: ", "2500.0 ms"});
  world_->file("publication/tiny.json", text);
  world_->file("empty/notes.txt", "");
  EXPECT_EQ(report(*world_ / "empty", "--check").code, 1);
  const ProcessOutcome absent = report(*world_ / "absent", "--check");
  EXPECT_EQ(absent.code, 2);
  expect_has(absent.err, {"absent\" is no directory", "lose its section"});
  world_->file("rollouts/bad.json", "{}");
  EXPECT_EQ(report(*world_ / "rollouts").code, 2);
}

// Steps of `rlcpp rl` without text: the split is all of a step, and engine and trainer agree to the bit.
TEST_F(BenchRollout, WholeStepsOfRlAreSplit) {
  const std::vector<std::string> command = {"bench",
                                            "rl",
                                            "--model.name",
                                            *world_ / "model",
                                            "--device",
                                            "cpu",
                                            "--threads",
                                            "2",
                                            "--groups",
                                            "3",
                                            "--completions",
                                            "4",
                                            "--prompt-tokens",
                                            "9",
                                            "--output-tokens",
                                            "7",
                                            "--model.seq-len",
                                            "40",
                                            "--steps",
                                            "3",
                                            "--max-batch-tokens",
                                            "32"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = command;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  for (const std::vector<std::string>& more : {std::vector<std::string>{},
                                               {"--model.lora.rank", "4"},
                                               {"--num-pages", "8", "--page-size", "4"},
                                               {"--dist.ranks", "2"}}) {
    const ProcessOutcome o = world_->run(with(joined({"--json"}, more)));
    ASSERT_EQ(o.code, 0) << o.err;
    const Json result = Json::parse(o.out);
    EXPECT_EQ(result["kind"], "rl_steps");
    ASSERT_EQ(result["steps"].size(), 3U);
    for (const Json& step : result["steps"]) {
      double parts = 0;
      for (const char* part : {"rollouts", "training", "publication", "waiting"}) {
        EXPECT_GE(step[part].get<double>(), 0) << part;
        parts += step[part].get<double>();
      }
      EXPECT_GT(step["rollouts"].get<double>(), 0);
      EXPECT_GT(step["training"].get<double>(), 0);
      EXPECT_NEAR(parts, step["step"].get<double>(), 1e-9);
    }
    for (const Json& kl : result["mismatch_kl"]) EXPECT_EQ(kl.get<double>(), 0);
    EXPECT_NEAR(
        result["training_tokens_per_second"].get<double>() * result["split"]["training"].get<double>(),
        12 * 16, 1e-6);
    std::vector<double> forwards = result["forward_runs"].get<std::vector<double>>();
    ASSERT_EQ(forwards.size(), 3U);
    std::ranges::sort(forwards);
    EXPECT_GT(forwards.front(), 0);
    EXPECT_EQ(result["forward_seconds"].get<double>(), forwards[1]);
  }
  const ProcessOutcome o = world_->run(command);
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"rollouts", "training", "publication", "waiting", "forward of its rows, apart",
                     "12 rollouts of 9 + 7 tokens on 1 CPU rank", "mode exact"});
  const ProcessOutcome untimed = world_->run(with({"--forward-repeats", "0", "--steps", "1", "--json"}));
  ASSERT_EQ(untimed.code, 0) << untimed.err;
  EXPECT_FALSE(Json::parse(untimed.out).contains("forward_seconds"));
  const ProcessOutcome narrow = world_->run(with({"--output-tokens", "100"}));
  EXPECT_EQ(narrow.code, 2);
  expect_has(narrow.err, {"does not fit a row", "model.seq_len"});
  for (const auto& [more, parts] : std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"--output-json", ""}, {"output_json is empty"}},
           {{"--output-json", world_->dir().path()}, {"it is a directory", "result.json"}},
           {{"--prompt-tokens", "9223372036854775807"}, {"prompt_tokens", "16777216"}},
           {{"--groups", "60000", "--completions", "60000"}, {"groups * completions is 3600000000"}}}) {
    const ProcessOutcome refused = world_->run(with(more));
    EXPECT_EQ(refused.code, 2) << refused.err;
    expect_has(refused.err, parts);
  }
  // A plan for a GPU that need not be here.
  const ProcessOutcome dry =
      world_->run({"bench", "rl", "--model.name", "Qwen/Qwen3-0.6B", "--device", "cuda", "--memory-limit",
                   "70GiB", "--model.seq-len", "8192", "--dry-run"});
  ASSERT_EQ(dry.code, 0) << dry.err;
  expect_has(dry.out, {"kv cache", "optimizer"});
}

TEST_F(BenchRollout, PublicationTimesAddUp) {
  const std::vector<std::string> command = {"bench",        "publication",
                                            "--model.name", *world_ / "model",
                                            "--device",     "cpu",
                                            "--threads",    "1",
                                            "--repeats",    "4"};
  const ProcessOutcome o = world_->run(joined(command, {"--dist.ranks", "3", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json result = Json::parse(o.out);
  EXPECT_EQ(result["kind"], "publication");
  EXPECT_EQ(result["config"]["num_gpus"], 3);
  double parts = 0;
  for (const char* part : {"checksums", "transfer", "verify", "replace"}) {
    EXPECT_GT(result["split"][part].get<double>(), 0) << part;
    parts += result["split"][part].get<double>();
  }
  EXPECT_GT(result["seconds"].get<double>(), parts / 4);
  EXPECT_GT(result["bytes"].get<double>(), 0);
  const ProcessOutcome text = world_->run(command);
  ASSERT_EQ(text.code, 0) << text.err;
  expect_has(text.out,
             {"checksums", "transfer", "verify", "replace", "whole", "to 1 other ranks", "medians of 4"});
  const ProcessOutcome alone = world_->run(joined(command, {"--dist.ranks", "1"}));
  EXPECT_EQ(alone.code, 2);
  expect_has(alone.err, {"one rank has nobody to publish to"});
}

}  // namespace
}  // namespace rlcpp::test
