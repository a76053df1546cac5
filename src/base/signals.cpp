#include "base/signals.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/log.h"

namespace rlcpp {
namespace {

std::atomic<int> stop{0};
std::atomic<std::int64_t> stop_time{0};  // of the first signal, in nanoseconds of the monotonic clock
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free,
              "the handler may only touch lock-free state");

constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
constexpr std::array<const char*, 3> kNames = {"SIGINT", "SIGTERM", "SIGHUP"};
// Written before the handlers are installed, only read after that; in the order of kSignals.
std::array<std::string, 3> first_lines, second_lines;

// Write(2) alone: a signal may arrive in the middle of any other call.
void say(const std::string& line) {
  const int saved = errno;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  errno = saved;
}

std::int64_t now_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// `timeout` and schedulers send one request twice, to the process and to its group: SIGTERM, which nobody
// types, counts again after a second, and so does a terminal's SIGHUP. Two SIGINT of one request are
// microseconds apart, two of a hand are not.
std::int64_t one_request(int signal) {
  return signal == SIGINT ? 20'000'000 : 1'000'000'000;
}

extern "C" void rlcpp_on_stop_signal(int signal) {
  const std::size_t which = signal == SIGINT ? 0 : signal == SIGTERM ? 1 : 2;
  const std::int64_t now = now_nanoseconds();
  int first = 0;
  // Only async-signal-safe calls here.
  if (stop.compare_exchange_strong(first, signal)) {
    stop_time.store(now);
    say(first_lines[which]);
    return;
  }
  if (first == signal && now - stop_time.load() < one_request(signal)) return;
  // Somebody who asks twice wants to leave now, whatever is not saved yet.
  say(second_lines[which]);
  _exit(128 + signal);
}

}  // namespace

void install_signal_handlers(const StopNotice& notice) {
  // Nobody may read the lines while they change.
  sigset_t all, before;
  sigemptyset(&all);
  for (const int signal : kSignals) sigaddset(&all, signal);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  for (std::size_t which = 0; which < kSignals.size(); ++which) {
    const std::string name = kNames[which];
    const auto line = [&](const std::string& text) {
      if (notice.json) return "{\"level\": \"warn\", \"message\": " + json_string(text) + "}\n";
      // A terminal has shown ^C, perhaps behind a live line.
      if (notice.quiet) return std::string();
      return (isatty(STDERR_FILENO) == 1 ? "\n" : "") + text + "\n";
    };
    first_lines[which] = line(name + ": " + notice.plan + "; again to stop at once");
    second_lines[which] = line(name + ": stopped at once, nothing saved");
  }
  struct sigaction action {};
  action.sa_handler = rlcpp_on_stop_signal;
  action.sa_mask = all;  // one at a time: the second looks at the time of the first
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) {
    struct sigaction old {};
    // nohup has it ignored, so that the run outlives its terminal.
    if (signal == SIGHUP && sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

int stop_signal() {
  return stop.load(std::memory_order_relaxed);
}

void request_stop(int signal) {
  stop_time.store(now_nanoseconds(), std::memory_order_relaxed);
  stop.store(signal, std::memory_order_relaxed);
}

void clear_stop() {
  stop.store(0, std::memory_order_relaxed);
}

}  // namespace rlcpp
