// The reference's `ipo` loss (March 2026): as dppo, and a token is rejected if |u| > ipo_threshold, whatever
// its advantage (difference.h). The reference sets kl_tau to 1e-3 with it.
#include <cmath>

#include "train/loss/difference.h"
#include "train/loss/kinds.h"

namespace rlcpp::train {
namespace {

void ipo_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                      std::span<float> coefficients, LossMetrics& metrics) {
  difference_loss(
      config, doc, scale, coefficients, metrics,
      [&](std::size_t t) { return config.adv_tau * static_cast<double>(doc.advantages[t]); },
      [&](double /*advantage*/, double u) {
        if (std::abs(u) <= config.ipo_threshold) return Verdict::kKeep;
        return u < 0 ? Verdict::kLow : Verdict::kHigh;
      });
}

}  // namespace

LossKind ipo_loss() {
  return {"ipo", "policy gradient of the tokens whose probability changed little (prime-rl, March 2026)",
          ipo_coefficients};
}

}  // namespace rlcpp::train
