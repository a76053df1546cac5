#include "bench/page.h"

#include "bench/history.h"
#include "support.h"

namespace rlcpp::bench {
namespace {

Result row(const std::string& model, const std::string& type, double tps, double step) {
  Result r;
  r.config.model_name = model;
  r.config.type = type;
  r.config.num_gpus = 2;
  r.config.device_name = "NVIDIA H100 80GB HBM3";
  r.config.seq_len = 8192;
  r.config.ac = "Recompute";
  r.config.success = true;
  r.config.timestamp = "2026-11-22T00:00:00Z";
  r.metrics.mfu.mean = tps / 3000;
  r.metrics.throughput.mean = tps;
  r.metrics.step_time.mean = step;
  r.metrics.peak_memory_gib = 8.53;
  return r;
}

TEST(Compare, ThresholdsAndDirections) {
  const Thresholds t;
  EXPECT_FALSE(compare(99.5, 100, true, t).shown);
  EXPECT_TRUE(compare(98.9, 100, true, t).shown);
  EXPECT_FALSE(compare(95.1, 100, true, t).regression);
  EXPECT_TRUE(compare(94.9, 100, true, t).regression);
  EXPECT_FALSE(compare(200, 100, true, t).regression);
  EXPECT_TRUE(compare(106, 100, false, t).regression);
  EXPECT_FALSE(compare(90, 100, false, t).regression);
  EXPECT_FALSE(compare(90, 0, true, t).shown);  // no baseline
}

TEST(Compare, RegressionsNameRowAndMetric) {
  const Baselines baselines({row("m", "rl", 1000, 1.0), row("m", "sft", 1000, 1.0)});
  EXPECT_TRUE(regressions({row("m", "rl", 1000, 1.0)}, baselines, {}).empty());
  EXPECT_TRUE(regressions({row("other", "rl", 1, 100)}, baselines, {}).empty());
  const auto slower = regressions({row("m", "rl", 900, 1.2)}, baselines, {});
  ASSERT_EQ(slower.size(), 3U);  // MFU, throughput, step time
  EXPECT_NE(slower[1].find("throughput 1000 -> 900"), std::string::npos);
  Result broken = row("m", "sft", 0, 0);
  broken.config.success = false;
  broken.config.error_reason = "out of memory";
  EXPECT_EQ(regressions({broken}, baselines, {}).size(), 1U);
}

TEST(Compare, FindsTheReferencesBaselineForOurRow) {
  Result theirs = row("m", "rl", 500, 2);
  theirs.config.attention = "flash_attention_3";
  theirs.config.numeric_mode = "fast";
  const Baselines baselines({theirs});
  const Result ours = row("m", "rl", 1000, 1);
  ASSERT_NE(baselines.find(ours.config), nullptr);
  EXPECT_EQ(baselines.find(ours.config)->metrics.throughput.mean, 500);
}

TEST(Compare, ARowInFp8IsNoRowInBf16) {
  Result fp8 = row("m", "rl", 1200, 0.8);
  fp8.config.numeric_mode = "fp8";
  EXPECT_EQ(Baselines({row("m", "rl", 1000, 1)}).find(fp8.config), nullptr);
  const Baselines both({row("m", "rl", 1000, 1), fp8});
  ASSERT_NE(both.find(fp8.config), nullptr);
  EXPECT_EQ(both.find(fp8.config)->metrics.throughput.mean, 1200);
  EXPECT_EQ(both.find(row("m", "rl", 900, 1).config)->metrics.throughput.mean, 1000);
  const std::string page = render_page({row("m", "rl", 1000, 1), fp8}, both, {},
                                       {"2026-11-22T00:00:00Z", "abcdef12", "2 x H100", ""});
  EXPECT_NE(page.find("| RL Full, fp8 |"), std::string::npos) << page;
  EXPECT_NE(page.find("| RL Full |"), std::string::npos);
}

TEST(Page, ShapeOfTheReference) {
  Result failed = row("Qwen/Qwen3-4B", "sft", 0, 0);
  failed.config.success = false;
  failed.config.error_reason = "out of memory | 3 GiB missing\nsecond line";
  const Baselines baselines(
      {row("Qwen/Qwen3-0.6B", "rl", 17600, 1.10), row("Qwen/Qwen3-0.6B", "sft", 31000, 1.03)});
  const std::string page = render_page(
      {row("Qwen/Qwen3-0.6B", "sft", 31380, 1.03), row("Qwen/Qwen3-0.6B", "rl", 16120, 1.26), failed},
      baselines, {}, {"2026-11-22T00:00:00Z", "abcdef12", "2 x H100", "../history.svg"});
  EXPECT_NE(page.find("| Type | Hardware | SeqLen | AC | Attn | MFU | TPS | Step Time | Peak Mem |"),
            std::string::npos);
  EXPECT_NE(page.find("**16.12k (-8.4%) ⚠️**"), std::string::npos);
  EXPECT_NE(page.find("**1.26s (+14.5%) ⚠️**"), std::string::npos);
  EXPECT_NE(page.find("31.38k (+1.2%)"), std::string::npos);
  EXPECT_NE(page.find("| 1.03s |"), std::string::npos);  // no difference: no percentage
  EXPECT_LT(page.find("| RL Full |"), page.find("| SFT Full |"));
  const auto failures = page.find("## Failed Benchmarks");
  ASSERT_NE(failures, std::string::npos);
  EXPECT_NE(page.find("out of memory \\| 3 GiB missing second line", failures), std::string::npos);
}

TEST(Compare, MissesRowsOfTheResultsDevicesAlone) {
  Result mine = row("m", "rl", 1000, 1);
  Result gone = row("m", "sft", 1000, 1);
  Result elsewhere = gone;
  elsewhere.config.device_name = "another card";
  Result theirs = gone;  // of the reference: no promise of ours
  theirs.config.seq_len = 1;
  for (Result* r : {&mine, &gone, &elsewhere}) r->extension.emplace();
  const auto lines = missing_rows({mine}, Baselines({mine, gone, elsewhere, theirs}));
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("m SFT Full 2xH100 HBM3 8192"), std::string::npos) << lines[0];
}

TEST(Page, MarksRowsMeasuredUnderLoad) {
  Result busy = row("configs/models/tiny", "rl", 1000, 1);
  busy.extension.emplace();
  busy.extension->clocks = {{"load", "24.10 3.0 1.0 1/80 12"}, {"cores", "16"}};
  Result old = row("configs/models/tiny", "sft", 1000, 1);  // before "cores" was recorded
  old.extension.emplace();
  old.extension->clocks = {{"load", "3.34 3.17 3.00 1/86 3416"}};
  old.extension->peak_source = "measured, 2 cores, f32";
  std::string page = render_page({busy, old}, Baselines({}), {}, {"", "", "", ""});
  EXPECT_NE(page.find("\n## tiny\n"), std::string::npos);
  EXPECT_NE(page.find("| RL Full † |"), std::string::npos);
  EXPECT_NE(page.find("| SFT Full † |"), std::string::npos);
  EXPECT_NE(page.find("† measured under load"), std::string::npos);
  busy.extension->clocks["load"] = "23.9 3.0 1.0 1/80 12";
  page = render_page({busy}, Baselines({}), {}, {"", "", "", ""});
  EXPECT_EQ(page.find("†"), std::string::npos);
}

TEST(History, AppendsOnceAndPlots) {
  const test::TemporaryDirectory dir;
  const std::string path = dir / "history.jsonl";
  Result r = row("m", "rl", 1000, 1);
  EXPECT_EQ(append_history(path, {r}).size(), 1U);
  EXPECT_EQ(append_history(path, {r}).size(), 1U);  // the same measurement
  r.config.timestamp = "2026-11-23T00:00:00Z";
  r.metrics.throughput.mean = 1100;
  const auto points = append_history(path, {r});
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(read_history(path)[1].throughput, 1100);
  const std::string svg = history_svg(points);
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_NE(svg.find("m RL, 2xH100 HBM3"), std::string::npos);     // the panel
  EXPECT_NE(svg.find("8192 Recompute exact"), std::string::npos);  // the curve
}

}  // namespace
}  // namespace rlcpp::bench
