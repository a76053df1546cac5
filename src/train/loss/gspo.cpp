// Group Sequence Policy Optimization (Zheng et al. 2025, arXiv 2507.18071, eq. 5 and 7): the importance ratio
// is of the whole answer, s = exp(mean over its n loss tokens of logp_trainer - logp_inference), and clipped
// as a whole:
//   loss = - 1/n sum over t of min(s A_t, clip(s, 1 - gspo_clip_low, 1 + gspo_clip_high) A_t) / scale
// with scale the number of answers of the step, A_t scaled by adv_tau. The gradient flows through s, in which
// every token has the part 1/n: d loss / d logp_t = - s/n * (1/n sum over unclipped t' of A_t') / scale, the
// same for all tokens of an answer.
#include <algorithm>

#include "train/loss/kinds.h"
#include "train/loss/ratios.h"

namespace rlcpp::train {
namespace {

void gspo_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                       std::span<float> coefficients, LossMetrics& metrics) {
  const Ratios ratios = ratios_of(doc);
  const double s = ratios.geometric, n = static_cast<double>(ratios.tokens.size());
  const double clipped = std::clamp(s, 1.0 - config.gspo_clip_low, 1.0 + config.gspo_clip_high);
  Masked masked;
  double open = 0, total = 0;
  for (const std::size_t t : ratios.tokens) {
    const double advantage = config.adv_tau * static_cast<double>(doc.advantages[t]);
    const bool low = s < clipped && advantage<0, high = s> clipped && advantage > 0;
    masked.low.push_back(low ? 1 : 0);
    masked.high.push_back(high ? 1 : 0);
    total += (low || high ? clipped : s) * advantage;
    if (!low && !high) open += advantage;
  }
  for (const std::size_t t : ratios.tokens) coefficients[t] = static_cast<float>(-s * open / (n * n * scale));
  metrics.loss -= total / (n * scale);
  add_metrics(doc, ratios, masked, metrics);
}

}  // namespace

LossKind gspo_loss() {
  return {"gspo", "clipped surrogate with one ratio an answer (GSPO), averaged over answers",
          gspo_coefficients};
}

}  // namespace rlcpp::train
