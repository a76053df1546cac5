// Float64 reference of ops/swiglu.h for tests.
#pragma once

#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

// gate_up [M, 2 I] -> [M, I].
Doubles swiglu_forward(const Doubles& gate_up, std::int64_t m, std::int64_t inner);
Doubles swiglu_backward(const Doubles& dy, const Doubles& gate_up, std::int64_t m, std::int64_t inner);

}  // namespace rlcpp::ops::reference
