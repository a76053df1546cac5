#include "monitor/console.h"

#include <cmath>
#include <limits>

#include "monitor/step_line.h"
#include "support.h"

namespace rlcpp::monitor {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t columns(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  return count;
}

TEST(Duration, IsShortAndRoundedToSeconds) {
  EXPECT_EQ(duration(0), "0:00");
  EXPECT_EQ(duration(52), "0:52");
  EXPECT_EQ(duration(59.6), "1:00");
  EXPECT_EQ(duration(605), "10:05");
  EXPECT_EQ(duration(3995), "1:06:35");
  EXPECT_EQ(duration(86399), "23:59:59");
  EXPECT_EQ(duration(86399.7), "1d 0h");
  EXPECT_EQ(duration(2 * 86400 + 4 * 3600 + 1800), "2d 4h");
  for (const double none : {kNan, kInfinity, -1.0}) EXPECT_EQ(duration(none), "-");
}

TEST(Compact, KeepsThreeOrFourDigits) {
  EXPECT_EQ(compact(0), "0");
  EXPECT_EQ(compact(311), "311");
  EXPECT_EQ(compact(999), "999");
  EXPECT_EQ(compact(0.4123), "0.412");
  EXPECT_EQ(compact(12.345), "12.3");
  EXPECT_EQ(compact(999.7), "1.00k");
  EXPECT_EQ(compact(1000), "1.00k");
  EXPECT_EQ(compact(1312), "1.31k");
  EXPECT_EQ(compact(9996), "10.0k");
  EXPECT_EQ(compact(118200), "118.2k");
  EXPECT_EQ(compact(999960), "1.00M");
  EXPECT_EQ(compact(1310000), "1.31M");
  EXPECT_EQ(compact(-7.5e9), "-7.50G");
  EXPECT_EQ(compact(2.5e13), "25.0T");
  EXPECT_EQ(compact(kNan), "-");
  EXPECT_EQ(compact(kInfinity), "inf");
  for (double value = 1e-4; value < 9e14; value *= 1.0173) {
    const std::string text = compact(value);
    EXPECT_LE(text.size(), 8U) << text;
    // What is printed is the number, to three digits.
    const double unit = text.ends_with('k')   ? 1e3
                        : text.ends_with('M') ? 1e6
                        : text.ends_with('G') ? 1e9
                        : text.ends_with('T') ? 1e12
                                              : 1;
    EXPECT_NEAR(std::stod(text) * unit, value, 0.0051 * value) << text;
  }
}

TEST(Gib, ShowsMegabytesWhereGigabytesWouldBeZero) {
  EXPECT_EQ(gib(9.7 * 1024 * 1024 * 1024), "9.7 GiB");
  EXPECT_EQ(gib(12.34 * 1024 * 1024), "12.3 MiB");
  EXPECT_EQ(gib(0), "0.0 MiB");
  EXPECT_EQ(gib(103.0 * 1024 * 1024), "0.1 GiB");
  EXPECT_EQ(gib(kNan), "-");
}

TEST(Eta, IsTheMedianOfTheLastTwentySteps) {
  Eta eta;
  EXPECT_EQ(eta.text(10), "-");
  eta.step(100);  // the first step warms up
  eta.step(2);
  EXPECT_EQ(eta.text(10), "-");
  eta.step(2);
  EXPECT_EQ(eta.text(10), "0:20");
  EXPECT_EQ(eta.text(0), "0:00");
  EXPECT_EQ(eta.text(-1), "-");
  eta.step(4);
  EXPECT_EQ(eta.text(10), "0:30");  // of 2, 2, 4, 100
  for (int i = 0; i < 20; ++i) eta.step(5);
  EXPECT_EQ(eta.text(719), "59:55");
}

TEST(Table, AlignsNumbersRightAndWordsLeft) {
  EXPECT_EQ(table({{"model", "step ms", "tok/s"}, {"Qwen3-0.6B", "81.25", "118.2k"}, {"tiny", "-", "1.2k"}}),
            "model       step ms   tok/s\n"
            "----------  -------  ------\n"
            "Qwen3-0.6B    81.25  118.2k\n"
            "tiny              -    1.2k\n");
  EXPECT_EQ(table({}), "");
  EXPECT_EQ(table({{"a", "b"}}), "a  b\n-  -\n");
  // Short rows are filled; letters count, not bytes; nothing drives the terminal.
  EXPECT_EQ(table({{"größe", "x"}, {"é"}, {"\x1b[2J", "word"}}),
            "größe    x\n"
            "-------  ----\n"
            "é\n"
            "\\x1b[2J  word\n");
}

TEST(Sparkline, ShowsTheShape) {
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(sparkline({1, 0}), "█▁");
  EXPECT_EQ(sparkline({3, 3, 3}), "▅▅▅");
  EXPECT_EQ(sparkline({5}), "▅");
  EXPECT_EQ(sparkline({}), "");
  EXPECT_EQ(sparkline({1, 2}, 0), "");
  EXPECT_EQ(sparkline({0, kNan, 7, kInfinity}), "▁ █ ");
  EXPECT_EQ(sparkline({kNan, kNan}), "  ");
  EXPECT_EQ(sparkline({0, 0, 7, 7, kNan, 7}, 3), "▁██");
  for (const std::size_t count : {1U, 59U, 60U, 61U, 1000U}) {
    EXPECT_EQ(columns(sparkline(std::vector<double>(count, 1.0))), std::min<std::size_t>(count, 60));
  }
}

TEST(StepLine, TrainingHasFixedColumns) {
  const TrainLine line{.step = 12,
                       .max_steps = 200,
                       .loss = 1.8342,
                       .grad_norm = 0.71,
                       .lr = 2e-5,
                       .tokens_per_second = 118200,
                       .mfu = 0.381,
                       .memory_bytes = 9.7 * 1024 * 1024 * 1024,
                       .seconds = 0.28,
                       .eta = "0:52"};
  EXPECT_EQ(step_line(line),
            "step  12/200  loss  1.8342  grad   0.71  lr 2.0e-05  118.2k tok/s  mfu 38.1%  mem  9.7 GiB  "
            "0.28 s  eta 0:52");
  EXPECT_EQ(step_line(TrainLine{}),
            "step 0  loss       -  grad      -  lr       -       - tok/s  mem        -  - s  eta -");
  TrainLine later = line;
  later.step = 113;
  later.loss = 0.0312;
  later.grad_norm = 12.5;
  later.mfu = 0.0913;
  EXPECT_EQ(step_line(later).size(), step_line(line).size());
}

TEST(StepLine, RolloutsShowRewardAndWhereTimeGoes) {
  const RolloutLine line{.step = 12,
                         .max_steps = 200,
                         .reward = 0.412,
                         .reward_change = 0.013,
                         .mismatch_kl = 2e-8,
                         .entropy = 0.83,
                         .length = 311.2,
                         .truncated = 0.02,
                         .groups = 32,
                         .groups_all = 3,
                         .groups_none = 5,
                         .generate = 0.61,
                         .train = 0.34,
                         .wait = 0.05,
                         .seconds = 2.1,
                         .eta = "6:35"};
  EXPECT_EQ(step_line(line),
            "step  12/200  reward 0.412 (+0.013)  kl 2e-08  ent  0.83  len 311  trunc 2%  groups 32: 3 all, "
            "5 none  "
            "gen 61% train 34% wait 5%  2.1 s  eta 6:35");
  // Publication has a column where it takes time.
  RolloutLine published = line;
  published.publish = 0.004;
  EXPECT_EQ(step_line(published), step_line(line));
  published.publish = 0.02;
  EXPECT_NE(step_line(published).find("train 34% pub 2% wait 5%  2.1 s"), std::string::npos);
  RolloutLine exact = line;
  exact.mismatch_kl = 0;
  EXPECT_NE(step_line(exact).find("kl 0  "), std::string::npos);
  EXPECT_EQ(
      step_line(RolloutLine{.step = 3}),
      "step 3  reward     - (     -)  kl -  ent     -  len -  trunc -%  groups -: - all, - none  gen -% "
      "train -% "
      "wait -%  - s  eta -");
}

TEST(StepLine, StaysUnder160ColumnsWithTheLogsPrefix) {
  const std::string prefix = "12:03:11 INFO ";
  const TrainLine train{.step = 100000,
                        .max_steps = 200000,
                        .loss = -123456.7,
                        .grad_norm = 1e30,
                        .lr = 1.25e-12,
                        .tokens_per_second = 999949999,
                        .mfu = 1.0,
                        .memory_bytes = 1400.0 * 1024 * 1024 * 1024,
                        .seconds = 99999,
                        .eta = "23:59:59"};
  EXPECT_LT(prefix.size() + step_line(train).size(), 160U) << step_line(train);
  const RolloutLine rollout{.step = 10000,
                            .max_steps = 20000,
                            .reward = -1.412,
                            .reward_change = -1.013,
                            .mismatch_kl = 2e-8,
                            .entropy = 10.83,
                            .length = 32768,
                            .truncated = 1.0,
                            .groups = 1024,
                            .groups_all = 512,
                            .groups_none = 512,
                            .generate = 0.61,
                            .train = 0.34,
                            .publish = 0.01,
                            .wait = 0.04,
                            .seconds = 1234,
                            .eta = "23:59:59"};
  EXPECT_LT(prefix.size() + step_line(rollout).size(), 160U) << step_line(rollout);
}

}  // namespace
}  // namespace rlcpp::monitor
