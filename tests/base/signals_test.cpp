#include "base/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "support.h"

namespace rlcpp {
namespace {

template <class Body>
int status_of(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    install_signal_handlers();
    body();
    _exit(99);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Signals, TheFirstOnlyAsks) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EQ(status_of([&] {
                if (stop_signal() != 0) _exit(1);
                raise(signal);
                _exit(stop_signal() == signal ? 0 : 2);
              }),
              0);
  }
}

TEST(Signals, UnderNohupATerminalMayClose) {
  EXPECT_EQ(status_of([] {
              signal(SIGHUP, SIG_IGN);
              install_signal_handlers();
              raise(SIGHUP);
              _exit(stop_signal() == 0 ? 0 : 2);
            }),
            0);
}

TEST(Signals, TheSecondEndsTheProcessAtOnce) {
  EXPECT_EQ(status_of([] {
              raise(SIGINT);
              usleep(60'000);
              raise(SIGINT);
            }),
            130);
  EXPECT_EQ(status_of([] {
              raise(SIGTERM);
              usleep(1'100'000);
              raise(SIGTERM);
            }),
            143);
  EXPECT_EQ(status_of([] {
              raise(SIGINT);
              raise(SIGTERM);
            }),
            143);
}

TEST(Signals, OneRequestThatIsSentTwiceCountsOnce) {
  EXPECT_EQ(status_of([] {
              raise(SIGTERM);
              raise(SIGTERM);
              usleep(200'000);
              raise(SIGTERM);
              _exit(stop_signal() == SIGTERM ? 7 : 8);
            }),
            7);
  EXPECT_EQ(status_of([] {
              raise(SIGINT);
              raise(SIGINT);
              _exit(stop_signal() == SIGINT ? 7 : 8);
            }),
            7);
  // To the process and to its group, as timeout(1) does it.
  EXPECT_EQ(status_of([] {
              setpgid(0, 0);
              kill(getpid(), SIGTERM);
              kill(0, SIGTERM);
              _exit(stop_signal() == SIGTERM ? 7 : 8);
            }),
            7);
}

TEST(Signals, TheyAreAnsweredAtOnce) {
  for (const bool json : {false, true}) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const int status = status_of([&] {
      dup2(ends[1], STDERR_FILENO);
      install_signal_handlers({"saving", json});
      raise(SIGINT);
      raise(SIGTERM);
    });
    EXPECT_EQ(status, 143);
    close(ends[1]);
    char text[300] = {};
    const ssize_t got = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    ASSERT_GT(got, 0);
    const std::string first = "SIGINT: saving; again to stop at once";
    const std::string second = "SIGTERM: stopped at once, nothing saved";
    const std::string begin = "{\"level\": \"warn\", \"message\": \"";
    std::string expected;
    for (const std::string& line : {first, second}) {
      if (json) expected += begin;
      expected += line;
      expected += json ? "\"}\n" : "\n";
    }
    EXPECT_EQ(text, expected);
  }
}

TEST(Signals, ARequestActsLikeASignalAndCanBeTakenBack) {
  EXPECT_EQ(stop_signal(), 0);
  request_stop(SIGTERM);
  EXPECT_EQ(stop_signal(), SIGTERM);
  clear_stop();
  EXPECT_EQ(stop_signal(), 0);
}

TEST(Signals, ASaveInProgressIsNotCutShort) {
  // A read that is under way when the signal arrives goes on afterwards instead of failing with EINTR.
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    install_signal_handlers();
    close(ends[1]);
    char byte = 0;
    const ssize_t got = read(ends[0], &byte, 1);
    _exit(got == 1 && byte == 'x' && stop_signal() == SIGINT ? 0 : 1);
  }
  usleep(100000);
  kill(child, SIGINT);
  usleep(50000);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  close(ends[0]);
  close(ends[1]);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace rlcpp
