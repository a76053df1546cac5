// Losses of one document: small functions from log-probabilities and streams to a coefficient a token and metrics.
// The head turns coefficients into gradients: d loss / d logprob_t = coefficient_t.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/config/schema.h"
#include "monitor/metrics.h"

namespace rlcpp::train {

// The reference's January loss section (trainer/rl/config.py), `grpo` being ratio_type token with its defaults.
struct LossConfig {
  std::string type = "default";        // default | grpo | cross_entropy
  std::string ratio_type = "token";    // token | sequence
  double token_mask_low = 0.125, token_mask_high = 8.0;
  double sequence_clip_high = 10.0;
  double geo_mask_low = 0.1, geo_mask_high = 10.0;
  double sequence_mask_low = 0.0, sequence_mask_high = 100.0;
  double adv_tau = 1.0, teacher_tau = 0.0, kl_tau = 0.0;
  void describe(config::Schema& s);
  void validate() const;
};

struct DocumentStreams {
  std::span<const float> trainer_logprobs, inference_logprobs, advantages, teacher_logprobs;
  std::span<const float> entropies;
  std::span<const std::uint8_t> mask;
};

// Values gathered over documents of a step; distributions are logged under the reference's names.
struct LossMetrics {
  double loss = 0;  // sum over documents, already divided by `scale`
  std::vector<double> entropy, trainer_probs, inference_probs, mismatch_kl, masked_mismatch_kl, unmasked_mismatch_kl, is_masked,
      is_masked_low, is_masked_high, sequence_masked_low, sequence_masked_high, geo_masked_low, geo_masked_high, geo_seq_ratio,
      teacher_kl;
  double max_abs_mismatch = 0;  // largest |logp_trainer - logp_inference| of a loss token: 0 in exact mode
};

// coefficients[t] = d loss / d trainer_logprob[t], 0 where mask is 0. `scale` is the global divisor (loss tokens for
// ratio_type token, sequences for ratio_type sequence).
void policy_loss(const LossConfig& config, const DocumentStreams& doc, double scale, std::span<float> coefficients,
                 LossMetrics& metrics);

}  // namespace rlcpp::train
