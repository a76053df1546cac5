// Operations recorded once and given to the device again in one call: the host's work for a few hundred short
// kernels is then that of one. On the CPU there is nothing to save: recording is refused.
#pragma once

#include <functional>
#include <memory>

#include "ops/context.h"

namespace rlcpp::ops {

namespace cuda {
class CapturedGraph;
struct CapturedGraphDeleter {
  void operator()(CapturedGraph* graph) const;
};
}  // namespace cuda

class Graph {
 public:
  // Records what `operations` asks of `ctx`, a GPU's, without doing it. They have run before with the same
  // shapes, so that no library makes plans now; they neither wait for the device nor read its results.
  // Addresses and sizes are fixed from here on, values are not. Throws runtime_failure with the CUDA error.
  Graph(const Context& ctx, const std::function<void()>& operations);
  // In order with the context's other operations.
  void launch() const;

 private:
  std::unique_ptr<cuda::CapturedGraph, cuda::CapturedGraphDeleter> captured_;
};

// to = from, byte for byte, as an operation: in order with the others, on one of which the host does not wait
// if its own side is pinned memory. Same type and number of elements; on the CPU at once.
void copy_in_order(const Context& ctx, const Tensor& to, const Tensor& from);

}  // namespace rlcpp::ops
