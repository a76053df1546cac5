// CUDA form of ops/cast.h; shapes are checked there.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

void cast(const Context& ctx, const Tensor& to, const Tensor& from);
void zero(const Context& ctx, const Tensor& t);

}  // namespace rlcpp::ops::cuda
