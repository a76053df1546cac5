// Time and output of the training commands.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace rlcpp::app {

// Seconds of the monotonic clock.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// To stdout, at once.
inline void print_result(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace rlcpp::app
