// The clipped surrogate of GRPO (Shao et al. 2024, "DeepSeekMath", eq. 3, without the reference-model term),
// averaged over the tokens of the step rather than within each answer (Yu et al. 2025, "DAPO"), which also
// gives the two clip bounds:
//   loss = - sum over t of min(r_t A_t, clip(r_t, 1 - clip_low, 1 + clip_high) A_t) / scale, A_t scaled by
//   adv_tau
// The gradient flows through r_t: d loss / d logp_t = - r_t A_t / scale where the first term is the smaller
// one, else 0. With r_t = 1 (the policy that sampled) it is the policy gradient, as the default loss is.
// Clipped tokens are logged as is_masked.
#include <algorithm>

#include "train/loss/kinds.h"
#include "train/loss/ratios.h"

namespace rlcpp::train {
namespace {

void grpo_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                       std::span<float> coefficients, LossMetrics& metrics) {
  const Ratios ratios = ratios_of(doc);
  Masked masked;
  for (std::size_t i = 0; i < ratios.tokens.size(); ++i) {
    const std::size_t t = ratios.tokens[i];
    const double advantage = config.adv_tau * static_cast<double>(doc.advantages[t]);
    const double ratio = ratios.ratio[i];
    const bool low = ratio < 1.0 - config.clip_low && advantage < 0;
    const bool high = ratio > 1.0 + config.clip_high && advantage > 0;
    masked.low.push_back(low ? 1 : 0);
    masked.high.push_back(high ? 1 : 0);
    const double clipped = std::clamp(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high);
    if (low || high) {
      metrics.loss -= clipped * advantage / scale;
    } else {
      coefficients[t] = static_cast<float>(-ratio * advantage / scale);
      metrics.loss -= ratio * advantage / scale;
    }
  }
  add_metrics(doc, ratios, masked, metrics);
}

}  // namespace

LossKind grpo_loss() {
  return {"grpo", "clipped surrogate of GRPO, averaged over tokens", grpo_coefficients};
}

}  // namespace rlcpp::train
