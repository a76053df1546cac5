// CUDA form of ops/embedding.h; shapes are checked there.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids);
void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids);

}  // namespace rlcpp::ops::cuda
