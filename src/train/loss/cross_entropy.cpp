// loss = - sum over loss tokens of logp_trainer / scale: supervised fine-tuning on rollouts (or any row with
// a mask). Advantages are not read.
#include "train/loss/kinds.h"
#include "train/loss/ratios.h"

namespace rlcpp::train {
namespace {

void cross_entropy_coefficients(const LossConfig& /*config*/, const DocumentStreams& doc, double scale,
                                std::span<float> coefficients, LossMetrics& metrics) {
  const Ratios ratios = ratios_of(doc);
  for (const std::size_t t : ratios.tokens) {
    coefficients[t] = static_cast<float>(-1.0 / scale);
    metrics.loss -= static_cast<double>(doc.trainer_logprobs[t]) / scale;
  }
  Masked none;
  none.low.assign(ratios.tokens.size(), 0);
  none.high.assign(ratios.tokens.size(), 0);
  add_metrics(doc, ratios, none, metrics);
}

}  // namespace

LossKind cross_entropy_loss() {
  return {"cross_entropy", "negative log-likelihood of the loss tokens", cross_entropy_coefficients};
}

}  // namespace rlcpp::train
