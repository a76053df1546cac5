// CUDA form of ops/checksum.h; shapes are checked there.
#pragma once

#include <span>

#include "ops/context.h"

namespace rlcpp::ops::cuda {

void checksums(const Context& ctx, std::span<const Tensor> tensors, const Tensor& sums);

}  // namespace rlcpp::ops::cuda
