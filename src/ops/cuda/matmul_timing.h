// Measuring which of several ways to queue the same work is the fastest; only for tuning (matmul_plans.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace rlcpp::ops::cuda {

// Memory for results that nobody reads; get() is null if 0 bytes were asked for or the GPU has none left.
class TrialOutput {
 public:
  explicit TrialOutput(std::size_t bytes);
  ~TrialOutput();
  TrialOutput(const TrialOutput&) = delete;
  TrialOutput& operator=(const TrialOutput&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

// The index of the fastest of `count` candidates; of those within 1 % of it the first, so that noise does not
// choose. run(i) queues candidate i on `stream` and is false if it cannot; candidate 0 wins if none can.
// Waits for the stream.
std::size_t fastest(std::size_t count, const std::function<bool(std::size_t)>& run, cudaStream_t stream);

}  // namespace rlcpp::ops::cuda
