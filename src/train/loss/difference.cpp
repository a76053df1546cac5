#include "train/loss/difference.h"

#include <cmath>

#include "train/loss/ratios.h"

namespace rlcpp::train {

void difference_loss(const LossConfig& config, const DocumentStreams& doc, double scale,
                     std::span<float> coefficients, LossMetrics& metrics,
                     const std::function<double(std::size_t)>& signal,
                     const std::function<Verdict(double, double)>& judge) {
  const Ratios ratios = ratios_of(doc);
  Masked masked;
  for (std::size_t i = 0; i < ratios.tokens.size(); ++i) {
    const std::size_t t = ratios.tokens[i];
    const double d = ratios.log_ratio[i];
    const double difference = std::exp(static_cast<double>(doc.trainer_logprobs[t])) -
                              std::exp(static_cast<double>(doc.inference_logprobs[t]));
    const double a = signal(t);
    const Verdict verdict = judge(a, difference);
    masked.low.push_back(verdict == Verdict::kLow ? 1 : 0);
    masked.high.push_back(verdict == Verdict::kHigh ? 1 : 0);
    const double policy = verdict == Verdict::kKeep ? a * ratios.ratio[i] : 0.0;
    coefficients[t] = static_cast<float>((2 * config.kl_tau * d - policy) / scale);
    metrics.loss += (config.kl_tau * d * d - policy) / scale;
  }
  add_metrics(doc, ratios, masked, metrics);
}

}  // namespace rlcpp::train
