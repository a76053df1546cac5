#include "ops/graph.h"

#include <cstring>

#include "base/error.h"
#include "ops/cuda/graph.h"

namespace rlcpp::ops {

Graph::Graph(const Context& ctx, const std::function<void()>& operations) {
  RLCPP_CHECK(ctx.on_gpu());
  captured_ = cuda::capture(ctx, operations);
}

void Graph::launch() const {
  cuda::launch(*captured_);
}

void copy_in_order(const Context& ctx, const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(to.dtype() == from.dtype() && to.size() == from.size());
  if (to.empty()) return;
  if (ctx.on_gpu()) return cuda::copy_in_order(ctx, to, from);
  std::memcpy(to.raw(), from.raw(), to.bytes());
}

}  // namespace rlcpp::ops
