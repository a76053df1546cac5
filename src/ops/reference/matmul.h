// Float64 reference of ops/matmul.h for tests: the definition, written for reading. Matrices are row-major
// vectors.
#pragma once

#include <cstdint>
#include <vector>

namespace rlcpp::ops::reference {

using Doubles = std::vector<double>;

// y [M, N] = x [M, K] w^T + bias (may be empty), w [N, K].
Doubles linear_forward(const Doubles& x, const Doubles& w, const Doubles& bias, std::int64_t m,
                       std::int64_t n, std::int64_t k);
Doubles linear_backward_input(const Doubles& dy, const Doubles& w, std::int64_t m, std::int64_t n,
                              std::int64_t k);
Doubles linear_backward_weight(const Doubles& dy, const Doubles& x, std::int64_t m, std::int64_t n,
                               std::int64_t k);
Doubles linear_backward_bias(const Doubles& dy, std::int64_t m, std::int64_t n);

}  // namespace rlcpp::ops::reference
