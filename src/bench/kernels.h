// The kernel sum of a step: every operation that the step calls, measured by itself on the same shapes, times
// how often it is called. What a step takes beyond it is what lies between kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ops/calls.h"

namespace rlcpp::bench {

// The calls of one operation on one set of sizes.
struct KernelGroup {
  std::string name, shape;  // "linear_forward", "8192 x 4096 x 1024"
  double flops = 0;         // of a call, and
  double bytes = 0;
  std::vector<ops::Call> calls;  // in the order of the step
};
// In the order of the step by the first call of each.
std::vector<KernelGroup> group_calls(std::vector<ops::Call> calls);

struct KernelOptions {
  double seconds = 0.2;  // to repeat each operation for, but three samples at least
  // Memory on the device, of bytes. Calls whose operands are smaller than half of it are made on copies of
  // them that fill it, one after the other, so that no cache still holds what the call before has touched;
  // calls on more than that are made where the step made them, one layer after the other.
  Tensor rotation;
  // True for tensors that hold what a step leaves there by chance and no operation reads as an index, a
  // scale or a state: they are filled with normal variates before an operation is measured.
  std::function<bool(const Tensor&)> random;
  ThreadPool* pool = nullptr;      // for that
  double timeout = 600;            // seconds that one operation may take in all
  std::function<void()> progress;  // after each sample; may throw to end it. May be empty
};

struct KernelTime {
  double seconds = 0;        // of a call: the median of the samples
  std::int64_t samples = 0;  // each of a number of calls back to back
  std::int64_t repeats = 0;  // calls in all, warm-up included
  std::int64_t places = 0;   // memories that took turns
};

// Measures one group in `ctx`, whose calls find the documents of the step's last micro-batch: all of a step
// must have the same. The values of what its operands name are another step's nonsense afterwards: weights
// and moments too. Throws runtime_failure after `timeout`.
KernelTime measure_group(const ops::Context& ctx, const KernelGroup& group, const KernelOptions& options);

}  // namespace rlcpp::bench
