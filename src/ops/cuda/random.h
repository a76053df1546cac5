// CUDA form of ops/random.h; arguments are checked there.
#pragma once

#include "ops/random.h"

namespace rlcpp::ops::cuda {

void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first);

}  // namespace rlcpp::ops::cuda
