#include "ops/reference/optimizer.h"

#include <cmath>

namespace rlcpp::ops::reference {

void adamw(Doubles& w, Doubles& m, Doubles& v, const Doubles& g, const AdamWStep& step) {
  const auto t = static_cast<double>(step.step);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double gradient = g[i] * step.gradient_scale;
    w[i] -= step.lr * step.weight_decay * w[i];
    m[i] = step.beta1 * m[i] + (1 - step.beta1) * gradient;
    v[i] = step.beta2 * v[i] + (1 - step.beta2) * gradient * gradient;
    const double m_hat = m[i] / (1 - std::pow(step.beta1, t));
    const double v_hat = v[i] / (1 - std::pow(step.beta2, t));
    w[i] -= step.lr * m_hat / (std::sqrt(v_hat) + step.eps);
  }
}

}  // namespace rlcpp::ops::reference
