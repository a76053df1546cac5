// The reference's loss of January 2026 (prime-rl trainer/rl/loss.py): REINFORCE with importance weights and
// hard masks, no clipping. For a document with loss tokens m, d_t = logp_trainer - logp_inference and r_t =
// exp(d_t):
//   rejected_t   if r_t < token_mask_low or r_t > token_mask_high, or for all t if exp(mean d) leaves the geo
//   bounds, if min r <
//                sequence_mask_low, or if max r > sequence_mask_high
//   rho_t        = r_t, or for ratio_type sequence min(exp(min(sum d, 10)), sequence_clip_high)
//   c_t          = rho_t (adv_tau A_t + teacher_tau (logp_teacher - logp_trainer) - kl_tau d_t), no gradient
//   through it loss         = - sum over kept t of c_t logp_trainer / scale, for ratio_type sequence also
//   divided by #m
#include <algorithm>
#include <cmath>

#include "train/loss/kinds.h"
#include "train/loss/ratios.h"

namespace rlcpp::train {
namespace {

// The reference clamps the summed log-ratio here before the exponential, whatever sequence_clip_high is.
constexpr double kLargestSumLog = 10.0;

Masked masks_of(const LossConfig& config, const Ratios& ratios) {
  Masked out;
  for (const double ratio : ratios.ratio) {
    out.low.push_back(ratio < config.token_mask_low ? 1 : 0);
    out.high.push_back(ratio > config.token_mask_high ? 1 : 0);
  }
  out.geo_low = ratios.geometric < config.geo_mask_low;
  out.geo_high = ratios.geometric > config.geo_mask_high;
  out.sequence_low = ratios.smallest < config.sequence_mask_low;
  out.sequence_high = ratios.largest > config.sequence_mask_high;
  out.whole = out.geo_low || out.geo_high || out.sequence_low || out.sequence_high;
  return out;
}

void default_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                          std::span<float> coefficients, LossMetrics& metrics) {
  const Ratios ratios = ratios_of(doc);
  const Masked masked = masks_of(config, ratios);
  const bool by_sequence = config.ratio_type == "sequence";
  const double sequence_ratio =
      std::min(std::exp(std::min(ratios.sum_log, kLargestSumLog)), config.sequence_clip_high);
  const double divisor = by_sequence ? scale * static_cast<double>(ratios.tokens.size()) : scale;
  for (std::size_t i = 0; i < ratios.tokens.size(); ++i) {
    if (masked.at(i)) continue;
    const std::size_t t = ratios.tokens[i];
    const auto trainer = static_cast<double>(doc.trainer_logprobs[t]);
    double signal =
        config.adv_tau * static_cast<double>(doc.advantages[t]) - config.kl_tau * ratios.log_ratio[i];
    if (!doc.teacher_logprobs.empty()) {
      signal += config.teacher_tau * (static_cast<double>(doc.teacher_logprobs[t]) - trainer);
    }
    const double c = (by_sequence ? sequence_ratio : ratios.ratio[i]) * signal;
    coefficients[t] = static_cast<float>(-c / divisor);
    metrics.loss -= c * trainer / divisor;
  }
  add_metrics(doc, ratios, masked, metrics);
}

}  // namespace

LossKind default_loss() {
  return {
      "default",
      "importance-weighted policy gradient with token, geometric and sequence masks (prime-rl, January 2026)",
      default_coefficients};
}

}  // namespace rlcpp::train
