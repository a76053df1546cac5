#include "base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace rlcpp {
namespace {

std::atomic<int> stop{0};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may only touch lock-free state");

extern "C" void rlcpp_on_stop_signal(int signal) {
  int none = 0;
  // Somebody who asks twice wants to leave now, whatever is not saved yet. Only async-signal-safe calls here.
  if (!stop.compare_exchange_strong(none, signal)) _exit(128 + signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = rlcpp_on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
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
