#include "base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <string>

#include "base/log.h"

namespace rlcpp {
namespace {

std::atomic<int> stop{0};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may only touch lock-free state");

// Written before the handlers are installed, only read after that. [0] for SIGINT, [1] for SIGTERM.
std::array<std::string, 2> first_lines, second_lines;

// Write(2) alone: a signal may arrive in the middle of any other call.
void say(const std::string& line) {
  const int saved = errno;
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  errno = saved;
}

extern "C" void rlcpp_on_stop_signal(int signal) {
  const std::size_t which = signal == SIGINT ? 0 : 1;
  int none = 0;
  // Somebody who asks twice wants to leave now, whatever is not saved yet. Only async-signal-safe calls here.
  if (!stop.compare_exchange_strong(none, signal)) {
    say(second_lines[which]);
    _exit(128 + signal);
  }
  say(first_lines[which]);
}

}  // namespace

void install_signal_handlers(const StopNotice& notice) {
  // Nobody may read the lines while they change.
  sigset_t both, before;
  sigemptyset(&both);
  sigaddset(&both, SIGINT);
  sigaddset(&both, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &both, &before);
  for (std::size_t which = 0; which < 2; ++which) {
    const std::string name = which == 0 ? "SIGINT" : "SIGTERM";
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
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

int stop_signal() {
  return stop.load(std::memory_order_relaxed);
}

void request_stop(int signal) {
  stop.store(signal, std::memory_order_relaxed);
}

void clear_stop() {
  stop.store(0, std::memory_order_relaxed);
}

}  // namespace rlcpp
