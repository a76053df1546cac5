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

void sgd(Doubles& w, Doubles& m, const Doubles& g, const SgdStep& step) {
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double gradient = g[i] * static_cast<double>(step.gradient_scale) + step.weight_decay * w[i];
    double direction = gradient;
    if (!m.empty()) {
      m[i] = step.momentum * m[i] + gradient;
      direction = step.nesterov ? gradient + step.momentum * m[i] : m[i];
    }
    w[i] -= step.lr * direction;
  }
}

void sign_sgd(Doubles& w, const Doubles& g, const SignStep& step) {
  for (std::size_t i = 0; i < w.size(); ++i) {
    w[i] -= step.lr * step.weight_decay * w[i];
    if (g[i] != 0) w[i] -= step.lr * (g[i] > 0 ? 1 : -1);
  }
}

}  // namespace rlcpp::ops::reference
