#include "ops/reference/norm.h"

#include <cmath>

namespace rlcpp::ops::reference {
namespace {

double reciprocal_rms(const Doubles& x, std::int64_t begin, std::int64_t h, double eps) {
  double sum = 0;
  for (std::int64_t i = 0; i < h; ++i) sum += x[begin + i] * x[begin + i];
  return 1.0 / std::sqrt(sum / static_cast<double>(h) + eps);
}

}  // namespace

Doubles rmsnorm_forward(const Doubles& x, const Doubles& w, std::int64_t m, std::int64_t h, double eps) {
  Doubles y(m * h);
  for (std::int64_t r = 0; r < m; ++r) {
    const double rstd = reciprocal_rms(x, r * h, h, eps);
    for (std::int64_t i = 0; i < h; ++i) y[r * h + i] = x[r * h + i] * rstd * w[i];
  }
  return y;
}

NormGradient rmsnorm_backward(const Doubles& dy, const Doubles& x, const Doubles& w, std::int64_t m,
                              std::int64_t h, double eps) {
  NormGradient g = {Doubles(m * h), Doubles(h)};
  for (std::int64_t r = 0; r < m; ++r) {
    const double rstd = reciprocal_rms(x, r * h, h, eps);
    double mean = 0;
    for (std::int64_t i = 0; i < h; ++i)
      mean += dy[r * h + i] * w[i] * x[r * h + i] * rstd / static_cast<double>(h);
    for (std::int64_t i = 0; i < h; ++i) {
      const double normalised = x[r * h + i] * rstd;
      g.dw[i] += dy[r * h + i] * normalised;
      g.dx[r * h + i] = rstd * (dy[r * h + i] * w[i] - normalised * mean);
    }
  }
  return g;
}

}  // namespace rlcpp::ops::reference
