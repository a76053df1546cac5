// Float64 reference of ops/embedding.h for tests.
#pragma once

#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

// table [V, H] at ids.
Doubles embedding_forward(const Doubles& table, const std::vector<std::int32_t>& ids, std::int64_t h);
Doubles embedding_backward(const Doubles& dy, const std::vector<std::int32_t>& ids, std::int64_t vocabulary,
                           std::int64_t h);

}  // namespace rlcpp::ops::reference
