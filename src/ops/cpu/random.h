// The CPU's form of ops/random.h; arguments are checked there.
#pragma once

#include "ops/random.h"

namespace rlcpp::ops::cpu {

void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first,
                 ThreadPool* pool);

}  // namespace rlcpp::ops::cpu
