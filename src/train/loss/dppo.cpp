// The reference's default loss since April 2026: the trust region is the change of a token's probability, not
// the ratio of probabilities, so that rare tokens are not masked for nothing (difference.h). A token is
// rejected
//   if A > 0 and u > dppo_mask_high, or A <= 0 and u < -dppo_mask_low.
// The reference sets kl_tau to 1e-3 with it.
#include "train/loss/difference.h"
#include "train/loss/kinds.h"

namespace rlcpp::train {
namespace {

void dppo_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                       std::span<float> coefficients, LossMetrics& metrics) {
  difference_loss(
      config, doc, scale, coefficients, metrics,
      [&](std::size_t t) { return config.adv_tau * static_cast<double>(doc.advantages[t]); },
      [&](double advantage, double u) {
        if (advantage > 0) return u > config.dppo_mask_high ? Verdict::kHigh : Verdict::kKeep;
        return u < -config.dppo_mask_low ? Verdict::kLow : Verdict::kKeep;
      });
}

}  // namespace

LossKind dppo_loss() {
  return {"dppo", "policy gradient masked by the change of a token's probability (prime-rl, April 2026)",
          dppo_coefficients};
}

}  // namespace rlcpp::train
