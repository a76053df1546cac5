// Copies between the host's memory and the device's that run beside the operations of a context. A queue
// makes its copies in order; marks say what waits for what. Nothing here waits on the host but synchronize().
//
// On a GPU a queue is a stream of its own and marks are events. On the CPU a copy is made when somebody first
// waits for a mark behind it, not earlier: the latest moment that the marks allow. So what works there does
// not lean on copies being quick.
#pragma once

#include <cstddef>
#include <memory>

#include "ops/context.h"

namespace rlcpp::ops {

class CopyQueue {
 public:
  // `marks`: how many places mark() may name.
  CopyQueue(const Context& ctx, std::size_t marks);
  // Waits until every copy is done.
  ~CopyQueue();
  CopyQueue(CopyQueue&&) noexcept;
  CopyQueue& operator=(CopyQueue&&) = delete;

  // Later copies of this queue begin when all operations that the context was given so far are done.
  void follow_operations();
  // Later copies of this queue begin when what `other` had queued at its mark is done. A mark that was never
  // made holds nothing up.
  void follow(const CopyQueue& other, std::size_t mark);
  // to = from, byte for byte: same type and number of elements. Both stay as they are until the copy is done.
  void copy(const Tensor& to, const Tensor& from);
  // Names the end of what is queued so far; the newest of a number counts.
  void mark(std::size_t mark);
  // Later operations of the context begin when what was queued at the mark is done. A mark that was never
  // made holds nothing up.
  void hold_operations(std::size_t mark) const;
  // Returns when every copy is done. Throws runtime_failure if one failed.
  void synchronize() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// For tests: from now on the queues of `ctx` wait so long before each copy, and its operations after each
// follow_operations(), so that an order which is left to chance goes wrong. Nothing on the CPU.
void delay_for_tests(const Context& ctx, double copy_microseconds, double operation_microseconds);

}  // namespace rlcpp::ops
