#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

Doubles linear_forward(const Doubles& x, const Doubles& w, const Doubles& bias, std::int64_t m,
                       std::int64_t n, std::int64_t k) {
  Doubles y(m * n);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = bias.empty() ? 0.0 : bias[j];
      for (std::int64_t l = 0; l < k; ++l) sum += x[i * k + l] * w[j * k + l];
      y[i * n + j] = sum;
    }
  }
  return y;
}

Doubles linear_backward_input(const Doubles& dy, const Doubles& w, std::int64_t m, std::int64_t n,
                              std::int64_t k) {
  Doubles dx(m * k);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t l = 0; l < k; ++l) dx[i * k + l] += dy[i * n + j] * w[j * k + l];
    }
  }
  return dx;
}

Doubles linear_backward_weight(const Doubles& dy, const Doubles& x, std::int64_t m, std::int64_t n,
                               std::int64_t k) {
  Doubles dw(n * k);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t l = 0; l < k; ++l) dw[j * k + l] += dy[i * n + j] * x[i * k + l];
    }
  }
  return dw;
}

Doubles linear_backward_bias(const Doubles& dy, std::int64_t m, std::int64_t n) {
  Doubles db(n);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) db[j] += dy[i * n + j];
  }
  return db;
}

}  // namespace rlcpp::ops::reference
