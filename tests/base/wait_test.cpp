#include "base/wait.h"

#include <sys/wait.h>

#include <atomic>

#include "base/error.h"
#include "support.h"

namespace rlcpp {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::atomic<std::int64_t> fake_now{0};
std::int64_t fake_clock() {
  return fake_now;
}

class Waits : public testing::Test {
 protected:
  void SetUp() override {
    fake_now = 1'000'000;
    set_wait_clock(fake_clock);
  }
  void TearDown() override { set_wait_clock(nullptr); }

  // A watchdog whose thread sleeps, so that only look() acts.
  Watchdog::Options collecting() {
    Watchdog::Options options;
    options.period = std::chrono::hours(1);
    options.line = [this](std::string_view line) { lines.emplace_back(line); };
    options.hard = [this](const std::vector<std::string>& texts) { ends.push_back(texts); };
    return options;
  }
  std::vector<std::string> lines;
  std::vector<std::vector<std::string>> ends;
};

TEST_F(Waits, SayWhoIsAwaitedAndForHowLong) {
  const Wait wait("environment reverse-text", "score of group 12", seconds(60), seconds(120));
  EXPECT_FALSE(wait.over_soft());
  fake_now += 61'000;
  EXPECT_TRUE(wait.over_soft());
  EXPECT_EQ(wait.text(), "waiting 61 s for environment reverse-text: score of group 12; hard limit in 59 s");
  fake_now += 60'500;
  EXPECT_EQ(wait.text(),
            "waiting 121 s for environment reverse-text: score of group 12; over the hard limit of 120 s");
}

TEST_F(Waits, EndAtTheHardLimitUnlessTheyProgress) {
  Wait wait("rank 3", "all_reduce", milliseconds(1500), milliseconds(4000));
  fake_now += 3999;
  EXPECT_NO_THROW(wait.check());
  wait.progress();
  EXPECT_FALSE(wait.over_soft());
  fake_now += 3999;
  EXPECT_NO_THROW(wait.check());
  fake_now += 1;
  try {
    wait.check();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
    EXPECT_NE(error.render().find("rank 3: all_reduce"), std::string::npos);
    EXPECT_NE(error.render().find("4.0 s"), std::string::npos);
  }
}

TEST_F(Waits, AreListedLongestFirstAndLeaveWhenTheyEnd) {
  EXPECT_TRUE(current_waits().empty());
  {
    const Wait older("a", "x", seconds(60), seconds(120));
    fake_now += 5000;
    const Wait younger("b", "y", seconds(60), seconds(120));
    fake_now += 1000;
    const auto texts = current_waits();
    ASSERT_EQ(texts.size(), 2U);
    EXPECT_NE(texts[0].find("6.0 s for a: x"), std::string::npos) << texts[0];
    EXPECT_NE(texts[1].find("1.0 s for b: y"), std::string::npos) << texts[1];
  }
  EXPECT_TRUE(current_waits().empty());
}

TEST_F(Waits, AClockThatGoesBackGivesNoNegativeTimes) {
  const Wait wait("a", "x", seconds(1), seconds(2));
  fake_now -= 10'000;
  EXPECT_FALSE(wait.over_soft());
  EXPECT_NE(wait.text().find("waiting 0.0 s"), std::string::npos);
}

TEST_F(Waits, TheWatchdogSpeaksAtTheSoftLimitAndThenAtDoubledTimes) {
  Watchdog watchdog(collecting());
  Wait wait("env", "answer", seconds(10), seconds(1000));
  std::vector<std::int64_t> spoke;
  for (int second = 1; second <= 100; ++second) {
    fake_now += 1000;
    const std::size_t before = lines.size();
    watchdog.look();
    if (lines.size() > before) spoke.push_back(second);
  }
  EXPECT_EQ(spoke, (std::vector<std::int64_t>{10, 20, 40, 80}));
  wait.progress();
  lines.clear();
  fake_now += 9'000;
  watchdog.look();
  EXPECT_TRUE(lines.empty());  // progress begins anew
  fake_now += 1'000;
  watchdog.look();
  EXPECT_EQ(lines.size(), 1U);
  EXPECT_TRUE(ends.empty());
}

TEST_F(Waits, TheWatchdogEndsAWaitThatDoesNotEndItselfOnceAndNamesTheGuiltyFirst) {
  auto options = collecting();
  options.grace = seconds(15);
  Watchdog watchdog(options);
  const Wait patient("someone else", "long work", seconds(500), seconds(5000));
  fake_now += 100'000;
  const Wait guilty("rank 3", "all_reduce", seconds(10), seconds(20));
  fake_now += 34'000;
  watchdog.look();
  EXPECT_TRUE(ends.empty());  // in its grace, check() may still end it
  fake_now += 1'000;
  watchdog.look();
  watchdog.look();
  ASSERT_EQ(ends.size(), 1U);
  ASSERT_EQ(ends[0].size(), 2U);
  EXPECT_NE(ends[0][0].find("rank 3"), std::string::npos);
  EXPECT_NE(ends[0][1].find("someone else"), std::string::npos);
}

TEST_F(Waits, TheWatchdogWatchesByItself) {
  set_wait_clock(nullptr);
  std::atomic<int> ended{0};
  Watchdog::Options options;
  options.period = milliseconds(5);
  options.grace = milliseconds(0);
  std::atomic<int> spoken{0};
  options.line = [&](std::string_view) { ++spoken; };
  options.hard = [&](const std::vector<std::string>&) { ++ended; };
  const Watchdog watchdog(options);
  const Wait wait("nobody", "nothing", milliseconds(10), milliseconds(60));
  for (int i = 0; i < 400 && ended == 0; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(ended, 1);
  EXPECT_GE(spoken, 1);
}

TEST_F(Waits, TheDefaultHandlerEndsTheProcessWithCode1) {
  const pid_t child = fork();
  if (child == 0) {
    set_wait_clock(nullptr);
    if (freopen("/dev/null", "w", stderr) == nullptr) _exit(8);
    Watchdog::Options options;
    options.period = milliseconds(5);
    options.grace = milliseconds(0);
    const Watchdog watchdog(options);
    const Wait wait("nobody", "nothing", milliseconds(5), milliseconds(20));
    std::this_thread::sleep_for(seconds(20));
    _exit(9);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

}  // namespace
}  // namespace rlcpp
