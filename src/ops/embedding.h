// Token embedding.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops {

// y [M, H] = table [V, H] at ids [M] i32; every id in [0, V).
void embedding_forward(const Context& ctx, const Tensor& y, const Tensor& table, const Tensor& ids);

// dtable [V, H] += dy [M, H] at ids. Rows of one id are added in the order of their position
// (on CUDA in chunks of 64 whose sums are added in order).
void embedding_backward(const Context& ctx, const Tensor& dtable, const Tensor& dy, const Tensor& ids);

}  // namespace rlcpp::ops
