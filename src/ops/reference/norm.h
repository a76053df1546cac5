// Float64 reference of ops/norm.h for tests.
#pragma once

#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

// x [M, H], w [H].
Doubles rmsnorm_forward(const Doubles& x, const Doubles& w, std::int64_t m, std::int64_t h, double eps);

struct NormGradient {
  Doubles dx;
  Doubles dw;
};
NormGradient rmsnorm_backward(const Doubles& dy, const Doubles& x, const Doubles& w, std::int64_t m,
                              std::int64_t h, double eps);

}  // namespace rlcpp::ops::reference
