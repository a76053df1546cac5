#include "base/failpoint.h"

#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "support.h"

namespace rlcpp {
namespace {

const failpoint::Registration kPoints{"test.one", "test.two"};

class FailPoint : public testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
};

std::string what_of(const std::string& specification) {
  try {
    failpoint::arm(specification);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.render();
  }
  return "accepted";
}

TEST_F(FailPoint, DoesNothingUnlessArmed) {
  EXPECT_FALSE(failpoint::any_armed());
  EXPECT_EQ(failpoint::hit("test.one"), "");
  failpoint::arm("test.one=error");
  EXPECT_TRUE(failpoint::any_armed());
  EXPECT_EQ(failpoint::hit("test.two"), "");
  EXPECT_THROW(failpoint::hit("test.one"), Error);
  failpoint::disarm_all();
  EXPECT_EQ(failpoint::hit("test.one"), "");
}

TEST_F(FailPoint, ActsOnTheHitItWasArmedFor) {
  failpoint::arm("test.one=nan:3");
  failpoint::arm("test.one=flip:5");
  std::vector<std::string> seen;
  for (int i = 0; i < 6; ++i) seen.emplace_back(failpoint::hit("test.one"));
  EXPECT_EQ(seen, (std::vector<std::string>{"", "", "nan", "", "flip", ""}));
  failpoint::arm("test.two=nan");
  EXPECT_EQ(failpoint::hit("test.two"), "nan");
  EXPECT_EQ(failpoint::hit("test.two"), "");
  failpoint::disarm_all();
  for (const char* action : {"inf", "spike"}) {
    failpoint::disarm_all();
    failpoint::arm(std::string("test.two=") + action);
    EXPECT_EQ(failpoint::hit("test.two"), action);
  }
  failpoint::disarm_all();
  failpoint::arm("test.two=flip:*");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(failpoint::hit("test.two"), "flip");
}

TEST_F(FailPoint, ErrorSaysWhichPointAndHit) {
  failpoint::arm("test.one=error:2");
  failpoint::hit("test.one");
  try {
    failpoint::hit("test.one");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
    EXPECT_NE(error.render().find("test.one"), std::string::npos);
    EXPECT_NE(error.render().find("hit 2"), std::string::npos);
  }
}

TEST_F(FailPoint, UnknownNamesAndWrongFormsAreRefused) {
  const std::string unknown = what_of("test.three=kill");
  EXPECT_NE(unknown.find("test.three"), std::string::npos);
  EXPECT_NE(unknown.find("test.one, test.two"), std::string::npos) << unknown;
  for (const char* wrong :
       {"test.one", "=kill", "test.one=", "test.one=die", "test.one=kill:0", "test.one=kill:x",
        "test.one=kill:-1", "test.one=delay", "test.one=delay(x)", "test.one=delay(1", "test.one=kill:"}) {
    EXPECT_NE(what_of(wrong), "accepted") << wrong;
  }
  EXPECT_FALSE(failpoint::any_armed());
}

TEST_F(FailPoint, AHitOfANameThatNobodyCouldArmIsABug) {
  failpoint::arm("test.one=nan");
  EXPECT_THROW(failpoint::hit("test.unregistered"), Error);
}

TEST_F(FailPoint, DelayWaitsAndHangEndsWhenDisarmed) {
  using Clock = std::chrono::steady_clock;
  failpoint::arm("test.one=delay(60)");
  const auto begin = Clock::now();
  failpoint::hit("test.one");
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(60));

  failpoint::arm("test.two=hang");
  std::atomic<bool> left{false};
  std::thread hanging([&] {
    failpoint::hit("test.two");
    left = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(80));
  EXPECT_FALSE(left);
  failpoint::disarm_all();
  hanging.join();
  EXPECT_TRUE(left);
}

TEST_F(FailPoint, KillEndsTheProcessAtOnce) {
  const pid_t child = fork();
  if (child == 0) {
    failpoint::arm("test.one=kill:2");
    failpoint::hit("test.one");
    failpoint::hit("test.one");
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST_F(FailPoint, NamesAreSortedAndHoldThoseOfTheFileLayer) {
  const auto names = failpoint::names();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const char* name : {"test.one", "durable.call", "durable.sync", "durable.rename"}) {
    EXPECT_TRUE(std::binary_search(names.begin(), names.end(), name)) << name;
  }
}

}  // namespace
}  // namespace rlcpp
