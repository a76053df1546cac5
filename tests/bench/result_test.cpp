#include "bench/result.h"

#include <fstream>

#include "base/error.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

Result sample() {
  Result r;
  r.config.model_name = "Qwen/Qwen3-0.6B";
  r.config.type = "rl";
  r.config.num_gpus = 2;
  r.config.device_name = "NVIDIA H100 80GB HBM3";
  r.config.lora_rank = 16;
  r.config.seq_len = 8192;
  r.config.ac = "Recompute";
  r.config.commit_sha = "abcdef12";
  r.config.timestamp = "2026-11-22T00:00:00Z";
  r.config.success = true;
  r.metrics.mfu = {38.5, 0.5, 38, 39};
  r.metrics.throughput = {118000, 10, 117990, 118010};
  r.metrics.step_time = {0.277, 0.001, 0.276, 0.278};
  r.metrics.peak_memory_gib = 8.5;
  r.metrics.peak_memory_pct = 10.6;
  Extension e;
  e.true_mfu = {38.4, 0, 38.4, 38.4};
  e.step_seconds = {0.276, 0.277, 0.278};
  e.losses = {11.9, 11.8};
  e.versions = {{"driver", "580"}};
  e.command = {"rlcpp", "trainer"};
  r.extension = e;
  return r;
}

TEST(Result, RoundTrip) {
  const Result before = sample();
  const Result after = from_json(to_json(before), "test");
  EXPECT_EQ(to_json(after), to_json(before));
  EXPECT_EQ(after.config.identity(), before.config.identity());
  EXPECT_EQ(after.extension->step_seconds, before.extension->step_seconds);
  EXPECT_EQ(*after.config.lora_rank, 16);
}

TEST(Result, NamesAsOnTheReferencePage) {
  RunConfig c = sample().config;
  EXPECT_EQ(c.hardware_text(), "2xH100 HBM3");
  EXPECT_EQ(c.type_text(), "RL LoRA(r=16)");
  c.lora_rank.reset();
  c.type = "sft";
  EXPECT_EQ(c.type_text(), "SFT Full");
  c.memory_limit = "44GiB";
  EXPECT_EQ(c.hardware_text(), "2xH100 HBM3 limited to 44GiB");
  EXPECT_EQ(c.file_name().find_first_of("/ |"), std::string::npos);
}

TEST(Result, ReadsTheReferenceProjectsFile) {
  // The shape of benchmarks/baselines of prime-rl at 2026-01-16: no attention of ours, no numeric mode, no
  // extension.
  const Result r = from_json(
      R"({"config": {"type": "rl", "num_gpus": 1, "model_name": "Qwen/Qwen3-0.6B", "lora_rank": null,
      "seq_len": 16384, "ac": "Recompute", "attention": "flash_attention_3", "micro_batches": 2, "docker_image": null,
      "device_name": "NVIDIA H100 80GB HBM3", "commit_sha": "unknown", "timestamp": "2026-01-15T00:00:00", "success": true,
      "error_reason": null, "time_taken": 77.1},
      "metrics": {"mfu": {"mean": 11.08, "std": 0.1, "min": 11.0, "max": 11.2},
      "throughput": {"mean": 11896, "std": 1, "min": 11890, "max": 11900},
      "step_time": {"mean": 1.992, "std": 0, "min": 1.9, "max": 2.0}, "peak_memory": {"gib": 12.53, "pct": 15.8}}})",
      "reference");
  EXPECT_TRUE(r.config.success);
  EXPECT_EQ(r.config.hardware_text(), "1xH100 HBM3");
  EXPECT_FALSE(r.extension.has_value());
  EXPECT_EQ(r.metrics.throughput.mean, 11896);
}

TEST(Result, DamageIsSaidWithItsPlace) {
  const auto said = [](const std::string& text) {
    try {
      from_json(text, "rows/a.json");
      return std::string("accepted");
    } catch (const Error& problem) {
      return problem.render();
    }
  };
  const std::string whole = to_json(sample());
  for (const std::string& text :
       {whole.substr(0, 200), std::string("{\n\"config\": oops}"), std::string("{}")})
    EXPECT_EQ(said(text).find("json.exception"), std::string::npos) << said(text);
  EXPECT_NE(said(whole.substr(0, 200)).find("it ends too soon, in line"), std::string::npos);
  EXPECT_NE(said("{\n\"config\": oops}").find("line 2, column 11"), std::string::npos);
  EXPECT_NE(said("{}").find("it has no key 'config'"), std::string::npos);
  EXPECT_NE(said("{}").find("run the row again"), std::string::npos);
  std::string typed = whole;
  typed.replace(typed.find("\"seq_len\": 8192"), 15, "\"seq_len\": \"8k\"");
  EXPECT_NE(said(typed).find("rows/a.json is not a benchmark result: \"seq_len\" cannot be read"),
            std::string::npos)
      << said(typed);
}

TEST(Result, BadFilesAreNamed) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"),
        std::string(R"({"config": {}})"), std::string(R"({"config": {"seq_len": "long"}, "metrics": {}})"),
        R"({"rlcpp": {"true_mfu": )" + std::string(300'000, '[') + std::string(300'000, ']') + "}}"}) {
    try {
      from_json(text, "rows/a.json");
      FAIL() << "accepted " << text;
    } catch (const Error& problem) {
      EXPECT_EQ(problem.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(problem.what()).find("rows/a.json"), std::string::npos);
    }
  }
}

TEST(Result, ReadsADirectoryInOrder) {
  const test::TemporaryDirectory dir;
  Result r = sample();
  for (const char* type : {"sft", "rl"}) {
    r.config.type = type;
    std::ofstream(dir / r.config.file_name()) << to_json(r);
  }
  std::ofstream(dir / "notes.json") << "not a result";
  const auto results = read_directory(dir.path());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].config.type, "rl");
  EXPECT_TRUE(read_directory(dir / "absent").empty());
}

}  // namespace
}  // namespace rlcpp::bench
