#include "ops/reference/head.h"

#include <algorithm>
#include <cmath>

namespace rlcpp::ops::reference {
namespace {

// Log-probabilities of all tokens after row r.
Doubles log_softmax(const HeadCase& c, std::int64_t r) {
  Doubles z(c.vocabulary);
  for (std::int64_t t = 0; t < c.vocabulary; ++t) {
    for (std::int64_t i = 0; i < c.hidden_size; ++i)
      z[t] += c.hidden[r * c.hidden_size + i] * c.w[t * c.hidden_size + i];
    z[t] /= c.temperatures[r];
  }
  const double max = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double value : z) sum += std::exp(value - max);
  for (double& value : z) value -= max + std::log(sum);
  return z;
}

}  // namespace

HeadOutput head_forward(const HeadCase& c) {
  HeadOutput result = {Doubles(c.rows), Doubles(c.rows)};
  for (std::int64_t r = 0; r < c.rows; ++r) {
    if (c.targets[r] < 0) continue;
    const Doubles logp = log_softmax(c, r);
    result.logprobs[r] = logp[c.targets[r]];
    for (const double value : logp) result.entropies[r] -= std::exp(value) * value;
  }
  return result;
}

HeadGradient head_backward(const HeadCase& c, const Doubles& coefficients) {
  HeadGradient g = {Doubles(c.rows * c.hidden_size), Doubles(c.vocabulary * c.hidden_size)};
  for (std::int64_t r = 0; r < c.rows; ++r) {
    if (c.targets[r] < 0) continue;
    const Doubles logp = log_softmax(c, r);
    for (std::int64_t t = 0; t < c.vocabulary; ++t) {
      const double dz =
          coefficients[r] * ((t == c.targets[r] ? 1.0 : 0.0) - std::exp(logp[t])) / c.temperatures[r];
      for (std::int64_t i = 0; i < c.hidden_size; ++i) {
        g.dhidden[r * c.hidden_size + i] += dz * c.w[t * c.hidden_size + i];
        g.dw[t * c.hidden_size + i] += dz * c.hidden[r * c.hidden_size + i];
      }
    }
  }
  return g;
}

}  // namespace rlcpp::ops::reference
