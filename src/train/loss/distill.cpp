// On-policy distillation (Agarwal et al. 2024, "On-Policy Distillation of Language Models"; the ref_kl
// component of prime-rl trainer/rl/loss.py, June 2026): the student samples, and each token's advantage is
// how much likelier the teacher thinks it, logp_teacher - logp_trainer, as a constant (difference.h). Rewards
// are not read. A token is rejected if u < -dppo_mask_low. The reference sets kl_tau to 1e-3 with it.
#include "base/error.h"
#include "train/loss/difference.h"
#include "train/loss/kinds.h"

namespace rlcpp::train {
namespace {

void distill_coefficients(const LossConfig& config, const DocumentStreams& doc, double scale,
                          std::span<float> coefficients, LossMetrics& metrics) {
  if (doc.teacher_logprobs.empty()) {
    throw bad_input("loss.type = \"distill\" needs a teacher",
                    "these rollouts have no teacher log-probabilities",
                    "set teacher_model where they are sampled (orchestrator.teacher_model of rl)");
  }
  difference_loss(
      config, doc, scale, coefficients, metrics,
      [&](std::size_t t) {
        return static_cast<double>(doc.teacher_logprobs[t]) - static_cast<double>(doc.trainer_logprobs[t]);
      },
      [&](double /*advantage*/, double u) {
        return u < -config.dppo_mask_low ? Verdict::kLow : Verdict::kKeep;
      });
}

}  // namespace

LossKind distill_loss() {
  return {"distill", "on-policy distillation from a teacher; rewards are not read", distill_coefficients};
}

}  // namespace rlcpp::train
