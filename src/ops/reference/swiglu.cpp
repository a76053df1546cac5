#include "ops/reference/swiglu.h"

#include <cmath>

namespace rlcpp::ops::reference {

Doubles swiglu_forward(const Doubles& gate_up, std::int64_t m, std::int64_t inner) {
  Doubles y(m * inner);
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t i = 0; i < inner; ++i) {
      const double a = gate_up[r * 2 * inner + i];
      y[r * inner + i] = a / (1 + std::exp(-a)) * gate_up[r * 2 * inner + inner + i];
    }
  }
  return y;
}

Doubles swiglu_backward(const Doubles& dy, const Doubles& gate_up, std::int64_t m, std::int64_t inner) {
  Doubles d(m * 2 * inner);
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t i = 0; i < inner; ++i) {
      const double a = gate_up[r * 2 * inner + i];
      const double b = gate_up[r * 2 * inner + inner + i];
      const double s = 1 / (1 + std::exp(-a));
      d[r * 2 * inner + i] = dy[r * inner + i] * b * (s + a * s * (1 - s));
      d[r * 2 * inner + inner + i] = dy[r * inner + i] * a * s;
    }
  }
  return d;
}

}  // namespace rlcpp::ops::reference
