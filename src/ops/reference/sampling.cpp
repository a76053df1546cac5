#include "ops/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace rlcpp::ops::reference {
namespace {

constexpr double kOut = -INFINITY;

Doubles softmax(const Doubles& z) {
  const double max = *std::max_element(z.begin(), z.end());
  Doubles p(z.size());
  double sum = 0;
  for (std::size_t i = 0; i < z.size(); ++i) sum += p[i] = std::exp(z[i] - max);
  for (double& value : p) value /= sum;
  return p;
}

}  // namespace

Doubles sampling_distribution(const Doubles& logits, const SamplingParams& params,
                              const std::vector<std::int32_t>& seen) {
  Doubles z = logits;
  for (const std::int32_t id : std::set<std::int32_t>(seen.begin(), seen.end())) {
    z[id] = z[id] > 0 ? z[id] / params.repetition_penalty : z[id] * params.repetition_penalty;
  }
  for (double& value : z) value /= params.temperature;
  if (params.min_p > 0) {
    const Doubles p = softmax(z);
    const double limit = params.min_p * *std::max_element(p.begin(), p.end());
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = p[i] < limit ? kOut : z[i];
  }
  if (params.top_k > 0 && params.top_k < static_cast<std::int32_t>(z.size())) {
    Doubles order = z;
    std::sort(order.begin(), order.end(), std::greater<>());
    for (double& value : z) value = value < order[params.top_k - 1] ? kOut : value;
  }
  if (params.top_p < 1) {
    const Doubles p = softmax(z);
    std::vector<std::size_t> order(z.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return z[a] > z[b]; });
    double before = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && before >= params.top_p) z[order[i]] = kOut;
      before += p[order[i]];
    }
  }
  return softmax(z);
}

}  // namespace rlcpp::ops::reference
