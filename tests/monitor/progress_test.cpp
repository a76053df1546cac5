#include "monitor/progress.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "base/durable.h"
#include "support.h"

namespace rlcpp::monitor {
namespace {

double fake_now = 0;
double fake_clock() {
  return fake_now;
}

class ProgressTest : public testing::Test {
 protected:
  void SetUp() override {
    fake_now = 100;
    stream_ = std::fopen((dir_ / "out").c_str(), "w");
  }
  void TearDown() override { std::fclose(stream_); }
  ProgressOptions options(bool terminal) {
    return {.stream = stream_, .terminal = terminal, .clock = fake_clock};
  }
  std::string output() {
    std::fflush(stream_);
    return durable::read_file(dir_ / "out");
  }
  test::TemporaryDirectory dir_;
  std::FILE* stream_ = nullptr;
};

std::size_t count_of(const std::string& text, char c) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), c));
}

TEST_F(ProgressTest, WithoutATerminalWritesAPlainLineEachTenSecondsAtMost) {
  Progress progress("tokenising", 5000, "rows", options(false));
  for (int i = 1; i <= 2500; ++i) {
    fake_now += 0.01;
    progress.add();
  }
  EXPECT_EQ(output(),
            "tokenising  1000/5000 rows  20%  100 rows/s  eta 0:40\n"
            "tokenising  2000/5000 rows  40%  100 rows/s  eta 0:30\n");
  progress.finish("done");
  EXPECT_TRUE(output().ends_with("\ntokenising  2500 rows  100 rows/s  0:25  done\n")) << output();
  EXPECT_EQ(count_of(output(), '\r') + count_of(output(), '\x1b'), 0U);
}

TEST_F(ProgressTest, SlowWorkStillWritesALineAMinute) {
  Progress progress("benchmark", 0, "rows", options(false));
  for (int minute = 1; minute <= 5; ++minute) {
    fake_now += 59;
    progress.update(minute, "row " + std::to_string(minute));
  }
  EXPECT_EQ(count_of(output(), '\n'), 5U);
  EXPECT_TRUE(output().ends_with("benchmark  5 rows  0.0169 rows/s  4:55  row 5\n")) << output();
}

TEST_F(ProgressTest, OnATerminalRedrawsOneLineFourTimesASecondAtMost) {
  Progress progress("packing", 1000, "rows", options(true));
  for (int i = 1; i <= 1000; ++i) {
    fake_now += 0.01;
    progress.update(i);
  }
  const std::string live = output();
  EXPECT_EQ(count_of(live, '\n'), 0U);
  EXPECT_GE(count_of(live, '\r'), 35U);  // ten seconds
  EXPECT_LE(count_of(live, '\r'), 41U);
  progress.finish();
  EXPECT_TRUE(output().ends_with("\r\x1b[Kpacking  1000 rows  100 rows/s  0:10\n"));
}

TEST_F(ProgressTest, ALineNeverWrapsAndNeverDrivesTheTerminal) {
  Progress progress("packing", 1000, "rows", options(true));
  std::string note(300, 'x');
  note += "\x1b[2J";
  progress.update(1, note);
  const std::string text = output();
  EXPECT_EQ(text.size(), 79U + 4U);  // 80 columns are assumed where the stream is no terminal; \r and ESC [ K
  Progress other("packing", 1000, "rows", options(true));
  other.update(1, "\x1b[2J");
  EXPECT_EQ(output().find("\x1b[2J"), std::string::npos);
}

TEST_F(ProgressTest, AnExceptionTakesTheLiveLineAway) {
  try {
    Progress progress("packing", 10, "rows", options(true));
    progress.update(3);
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
  }
  EXPECT_TRUE(output().ends_with("\r\x1b[K"));
}

TEST_F(ProgressTest, MessagesStayAboveTheLiveLine) {
  Progress progress("packing", 10, "rows", options(true));
  progress.update(3);
  progress.message("a row was too long");
  EXPECT_NE(output().find("\r\x1b[Ka row was too long\n\rpacking  3/10 rows"), std::string::npos) << output();
}

TEST_F(ProgressTest, QuietIsQuietAndLinesCanGoElsewhere) {
  auto quiet = options(false);
  quiet.quiet = true;
  {
    Progress progress("packing", 10, "rows", quiet);
    fake_now += 100;
    progress.update(3);
    progress.message("x");
    progress.finish();
  }
  EXPECT_EQ(output(), "");
  std::vector<std::string> lines;
  auto elsewhere = options(false);
  elsewhere.line = [&](std::string_view line) { lines.emplace_back(line); };
  Progress progress("packing", 10, "rows", elsewhere);
  fake_now += 100;
  progress.update(3);
  progress.finish();
  progress.finish();
  EXPECT_EQ(lines.size(), 2U);
  EXPECT_EQ(output(), "");
}

}  // namespace
}  // namespace rlcpp::monitor
