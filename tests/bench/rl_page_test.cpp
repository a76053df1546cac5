// The page's section "RL steps", from what `rlcpp bench rl` writes.
#include "bench/rl_page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/durable.h"
#include "base/error.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

std::string file_of(int gpus, const std::string& rank, double step, const std::string& mismatch = "0.0") {
  return fmt::format(
      R"({{"kind": "rl_steps", "config": {{"engine": "rlcpp", "model_name": "Qwen/Qwen3-0.6B", "lora_rank": {},
      "num_gpus": {}, "device_name": "NVIDIA H100", "numeric_mode": "exact", "groups": 16, "completions": 16,
      "prompt_tokens": 512, "output_tokens": 512, "seq_len": 8192, "commit_sha": "abc12345", "timestamp": "x"}},
      "planned_bytes": 1, "peak_bytes": 21474836480, "step_seconds": {},
      "split": {{"rollouts": 3, "training": 1.8, "publication": 0.0005, "waiting": 0.1995}},
      "tokens_per_second": 52428.8, "output_tokens_per_second": 43690.0, "training_tokens_per_second": 145635.0,
      "mismatch_kl": [0.0, {}], "steps": []}})",
      rank, gpus, step, mismatch);
}

TEST(RlPage, AStepIsARow) {
  const std::string page = render_rl({rl_from_json(file_of(1, "null", 5), "one.json"),
                                      rl_from_json(file_of(2, "16", 5, "-3.4e-5"), "two.json")});
  EXPECT_NE(page.find("## RL steps"), std::string::npos);
  EXPECT_NE(page.find("### Qwen/Qwen3-0.6B on NVIDIA H100"), std::string::npos) << page;
  EXPECT_NE(
      page.find("| Full | 1 | exact | 256 of 512 + 512 | 5.000 s | 60 / 36 / 0 / 4 % | 0.50 ms | 52.43k | "
                "43.69k | 145.63k | 0 | 20.0 GiB | abc12345 |"),
      std::string::npos)
      << page;
  EXPECT_NE(page.find("| LoRA(r=16) | 2 | exact |"), std::string::npos) << page;
  EXPECT_NE(page.find("| 3.4e-05 |"), std::string::npos) << page;
  EXPECT_TRUE(render_rl({}).empty());
}

std::string timed(std::string text, const std::string& mode, const std::string& seconds) {
  text.insert(text.find("\"split\""), fmt::format("\"forward_seconds\": {}, ", seconds));
  if (mode != "exact") text.replace(text.find("exact"), 5, mode);
  return text;
}

// Both modes of the same work lie side by side, whatever their files are called, and say what exact costs.
TEST(RlPage, BothModesSideBySideWithThePriceOfAForward) {
  const std::string one = file_of(1, "16", 5), two = file_of(2, "16", 5);
  const std::string page = render_rl({rl_from_json(timed(one, "exact", "0.864"), "a.json"),
                                      rl_from_json(timed(two, "exact", "0.5"), "b.json"),
                                      rl_from_json(timed(one, "fast", "0.8"), "c.json"),
                                      rl_from_json(file_of(4, "null", 5), "old.json")});
  EXPECT_NE(page.find("Forward: of the step's rows"), std::string::npos);
  EXPECT_NE(page.find("| Split | Forward | Publication |"), std::string::npos) << page;
  EXPECT_NE(page.find("|-------|---------|-------------|"), std::string::npos) << page;
  const std::size_t exact = page.find(
                        "| LoRA(r=16) | 1 | exact | 256 of 512 + 512 | 5.000 s | 60 / 36 / 0 / "
                        "4 % | 0.864 s (+8.0 %) | 0.50 ms |"),
                    fast = page.find(
                        "| LoRA(r=16) | 1 | fast | 256 of 512 + 512 | 5.000 s | 60 / 36 / 0 / "
                        "4 % | 0.800 s | 0.50 ms |"),
                    alone = page.find(
                        "| LoRA(r=16) | 2 | exact | 256 of 512 + 512 | 5.000 s | 60 / 36 / 0 / "
                        "4 % | 0.500 s | 0.50 ms |");
  EXPECT_NE(alone, std::string::npos) << page;
  EXPECT_LT(exact, fast) << page;
  EXPECT_LT(fast, alone) << page;
  EXPECT_NE(page.find("| Full | 4 | exact | 256 of 512 + 512 | 5.000 s | 60 / 36 / 0 / 4 % | – | 0.50 ms |"),
            std::string::npos)
      << page;
  // Rows of another length are other work, and files from before the measurement have no column.
  std::string longer = timed(one, "fast", "0.8");
  longer.replace(longer.find("8192"), 4, "9000");
  EXPECT_EQ(render_rl({rl_from_json(timed(one, "exact", "0.864"), "a.json"), rl_from_json(longer, "b.json")})
                .find("(+"),
            std::string::npos);
  EXPECT_EQ(render_rl({rl_from_json(one, "a.json")}).find("Forward"), std::string::npos);
  EXPECT_THROW(rl_from_json(timed(one, "fast", "0"), "some.json"), Error);
  EXPECT_THROW(rl_from_json(timed(one, "fast", "\"1\""), "some.json"), Error);
}

TEST(RlPage, FilesThatAreNoneAreRefused) {
  for (const std::string& text :
       {std::string("["), std::string("{}"), file_of(1, "null", 0), file_of(0, "null", 5)}) {
    EXPECT_THROW(rl_from_json(text, "some.json"), Error) << text;
  }
  for (const auto& [from, to] :
       {std::pair<std::string, std::string>("\"num_gpus\": 1", "\"num_gpus\": 1e300"),
        {"\"groups\": 16", "\"groups\": 4294967296"},  // whose product with another is beyond 64 bits
        {"\"completions\": 16", "\"completions\": 16.5"}}) {
    std::string text = file_of(1, "null", 5);
    text.replace(text.find(from), from.size(), to);
    EXPECT_THROW(rl_from_json(text, "some.json"), Error) << text;
  }
  std::string other = file_of(1, "null", 5);
  other.replace(other.find("rl_steps"), 8, "rollouts");
  try {
    rl_from_json(other, "some.json");
    FAIL() << "another kind was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("some.json"), std::string::npos);
  }
}

TEST(RlPage, ADirectoryIsReadInOrderAndMayBeAbsent) {
  const test::TemporaryDirectory dir;
  EXPECT_TRUE(read_rl(dir / "absent").empty());
  durable::write_file(durable::system_files(), dir / "b.json", file_of(2, "null", 3));
  durable::write_file(durable::system_files(), dir / "a.json", file_of(1, "null", 5));
  durable::write_file(durable::system_files(), dir / "notes.txt", "nothing");
  const std::vector<RlFile> files = read_rl(dir.path());
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].num_gpus, 1);
  EXPECT_EQ(files[1].num_gpus, 2);
}

}  // namespace
}  // namespace rlcpp::bench
