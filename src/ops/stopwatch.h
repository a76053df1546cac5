// How long operations take the device.
#pragma once

#include <chrono>
#include <memory>

#include "ops/context.h"

namespace rlcpp::ops {

namespace cuda {
class EventPair;
struct EventPairDeleter {
  void operator()(EventPair* pair) const;
};
}  // namespace cuda

// On a GPU two events of its stream, so the time of asking does not count while the device is busy; on the
// CPU, where an operation is done when its call returns, the monotonic clock.
class Stopwatch {
 public:
  explicit Stopwatch(const Context& ctx);

  // Begins when the operations that were asked for so far are done.
  void start();
  // Seconds from there until those asked for since are done; waits for them. Throws runtime_failure if one
  // failed.
  double stop();

 private:
  std::unique_ptr<cuda::EventPair, cuda::EventPairDeleter> events_;  // null on the CPU
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace rlcpp::ops
