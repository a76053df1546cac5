#include "base/error.h"
#include "train/loss/loss.h"

namespace rlcpp::train {

void text_loss(std::span<const float> trainer_logprobs, std::span<const float> weights, double scale,
               std::span<float> coefficients, LossMetrics& metrics) {
  RLCPP_CHECK(trainer_logprobs.size() == weights.size() && coefficients.size() == weights.size());
  for (std::size_t t = 0; t < weights.size(); ++t) {
    if (!(weights[t] > 0)) continue;
    RLCPP_CHECK(scale > 0);
    const double share = static_cast<double>(weights[t]) / scale;
    coefficients[t] += static_cast<float>(-share);
    metrics.loss -= share * static_cast<double>(trainer_logprobs[t]);
    metrics.nll.push_back(-static_cast<double>(trainer_logprobs[t]));
  }
}

}  // namespace rlcpp::train
