// The page's section "Rollouts", from result files of engines.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "bench/rollout_page.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

std::string file_of(const std::string& engine, const std::string& commit, double rate,
                    const std::string& more = "") {
  return fmt::format(
      R"({{"kind": "rollout", "config": {{"engine": "{}", "model_name": "Qwen/Qwen3-0.6B", "device_name": "NVIDIA H100",
      "numeric_mode": "fast", "dtype": "bf16", "timestamp": "2026-11-27T10:00:00Z", {}}},
      "loads": [{{"load": "nano", "variant": "", "sequences": 256, "prompt_tokens": 142827, "output_tokens": 133966,
      "seconds": 8, "tokens_per_second": {}, "step_ms": 7.5{}}},
      {{"load": "groups", "variant": "shared prompts", "sequences": 256, "prompt_tokens": 131072, "output_tokens": 131072,
      "seconds": 4, "tokens_per_second": {}, "step_ms": 7.5}}]}})",
      engine, commit, rate, more, 2 * rate);
}

const std::string kOurs = file_of("rlcpp", R"("commit_sha": "abc12345")", 20000,
                                  R"(, "ratio": 0.75, "time_line": {"forward": 6, "sampling": 1,
                                  "scheduler": 0.5, "host": 0.5})");
const std::string kPeer = file_of("transformers", R"("versions": {"transformers": "5.23"})", 1000);

TEST(RolloutPage, OursAndPeersSideBySide) {
  const std::vector<RolloutFile> files = {rollouts_from_json(kPeer, "peer.json"),
                                          rollouts_from_json(kOurs, "ours.json")};
  const std::string page = render_rollouts(files);
  EXPECT_NE(page.find("## Rollouts"), std::string::npos);
  EXPECT_NE(page.find("### Qwen/Qwen3-0.6B on NVIDIA H100"), std::string::npos) << page;
  const std::size_t ours = page.find(
                        "| nano | rlcpp | fast, bf16 | 256 | 142827 | 133966 | 20.00k | 8.00 s | 7.50 ms | "
                        "0.75 | – | 75 / 12 / 6 / 6 % | abc12345 |"),
                    peer = page.find(
                        "| nano | transformers | fast, bf16 | 256 | 142827 | 133966 | 1.00k | 8.00 s | "
                        "7.50 ms | – | 20.0 times as fast | – | 5.23 |"),
                    next = page.find("| groups, shared prompts | rlcpp |");
  EXPECT_NE(ours, std::string::npos) << page;
  EXPECT_NE(peer, std::string::npos) << page;
  EXPECT_LT(ours, peer);
  EXPECT_LT(peer, next);
  EXPECT_TRUE(render_rollouts({}).empty());
}

// Both modes of a load, from files between which others lie.
TEST(RolloutPage, BothModesSideBySide) {
  RolloutFile fast = rollouts_from_json(kOurs, "a.json"), other = fast, exact = fast;
  for (RolloutFigure& f : other.figures) f.sequences /= 2;
  exact.numeric_mode = "exact";
  const std::string page = render_rollouts({exact, other, fast});
  const std::size_t first = page.find("| nano | rlcpp | exact, bf16 | 256 |"),
                    second = page.find("| nano | rlcpp | fast, bf16 | 256 |");
  ASSERT_NE(first, std::string::npos) << page;
  ASSERT_NE(second, std::string::npos) << page;
  EXPECT_EQ(page.find('\n', first) + 1, second) << page;
}

// A peer that did other work is compared with nothing.
TEST(RolloutPage, OtherWorkIsNotCompared) {
  RolloutFile less = rollouts_from_json(kPeer, "peer.json");
  for (RolloutFigure& f : less.figures) f.output_tokens /= 2;
  const std::string page = render_rollouts({rollouts_from_json(kOurs, "ours.json"), less});
  EXPECT_EQ(page.find("times as fast"), std::string::npos) << page;
  EXPECT_NE(page.find("| transformers |"), std::string::npos);
}

TEST(RolloutPage, FilesThatAreNoneAreRefused) {
  const auto refused = [](const std::string& text) {
    try {
      rollouts_from_json(text, "some.json");
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("some.json"), std::string::npos);
      return e.code() == ExitCode::kBadInput;
    }
    return false;
  };
  EXPECT_TRUE(refused("{"));
  EXPECT_TRUE(refused("[]"));
  EXPECT_TRUE(refused(R"({"config": {}})"));
  std::string none = kOurs;
  none.replace(none.find("\"seconds\": 8"), 12, "\"seconds\": 0");
  EXPECT_TRUE(refused(none));
  std::string half = kOurs;
  half.replace(half.find("\"sequences\": 256"), 16, "\"sequences\": 2.5");
  EXPECT_TRUE(refused(half));
}

TEST(RolloutPage, ADirectoryByFileNameThatMayBeAbsent) {
  const test::TemporaryDirectory dir;
  EXPECT_TRUE(read_rollouts(dir / "absent").empty());
  durable::write_file(durable::system_files(), dir / "b.json", kOurs);
  durable::write_file(durable::system_files(), dir / "a.json", kPeer);
  durable::write_file(durable::system_files(), dir / "notes.txt", "x");
  const auto files = read_rollouts(dir.path());
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].engine, "transformers");
  EXPECT_EQ(files[1].commit, "abc12345");
}

}  // namespace
}  // namespace rlcpp::bench
