#include "base/error.h"

#include "support.h"

namespace rlcpp {
namespace {

TEST(Error, RendersWhatWhyAndHowInThatOrder) {
  EXPECT_EQ(bad_input("lr is negative", "it is -1", "use a value > 0").render(),
            "error: lr is negative\n  because it is -1\n  help: use a value > 0\n");
  EXPECT_EQ(bad_input("lr is negative", "", "use a value > 0").render(),
            "error: lr is negative\n  help: use a value > 0\n");
  EXPECT_EQ(bad_input("lr is negative").render(), "error: lr is negative\n");
}

TEST(Error, CarriesItsExitCode) {
  EXPECT_EQ(bad_input("x").code(), ExitCode::kBadInput);
  EXPECT_EQ(environment_error("x").code(), ExitCode::kEnvironment);
  EXPECT_EQ(runtime_failure("x").code(), ExitCode::kFailed);
  // Schedulers act on these numbers, so they never change.
  EXPECT_EQ(static_cast<int>(ExitCode::kDone), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kFailed), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kBadInput), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kEnvironment), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kCheckFailed), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kStopped), 75);
  EXPECT_EQ(static_cast<int>(ExitCode::kInterrupted), 130);
  EXPECT_EQ(static_cast<int>(ExitCode::kTerminated), 143);
}

TEST(Error, AChecksFailureNamesConditionAndPlace) {
  const int two = 2;
  EXPECT_NO_THROW(RLCPP_CHECK(two == 2));
  try {
    RLCPP_CHECK(two == 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
    EXPECT_NE(std::string(error.what()).find("two == 3"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("error_test.cpp:"), std::string::npos);
  }
}

}  // namespace
}  // namespace rlcpp
