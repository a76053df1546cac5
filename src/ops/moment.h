// A moment in the order of operations that the host can wait for, while what it asked for later still runs.
#pragma once

#include <memory>

#include "ops/context.h"

namespace rlcpp::ops {

namespace cuda {
class Event;
struct EventDeleter {
  void operator()(Event* event) const;
};
}  // namespace cuda

class Moment {
 public:
  explicit Moment(const Context& ctx);

  // When the operations that were asked for so far are done. Any number of times: the last one counts.
  void mark();
  // Returns when that moment has come; at once on the CPU, and before the first mark(). Throws
  // runtime_failure if an operation failed.
  void wait() const;

 private:
  std::unique_ptr<cuda::Event, cuda::EventDeleter> event_;  // null on the CPU
};

}  // namespace rlcpp::ops
