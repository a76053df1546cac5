// Losses of one document: small functions from log-probabilities and streams to a coefficient a token and
// metrics. The head turns coefficients into gradients: d loss / d logprob_t = coefficient_t.
//
// A new kind of loss is one file with a LossFunction, one line in kinds.h and registry.cpp, and one test.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/config/schema.h"

namespace rlcpp::train {

// The reference's January 2026 loss section (prime-rl trainer/rl/config.py), and what the other kinds read.
struct LossConfig {
  std::string type = "default";      // one of loss_kinds()
  std::string ratio_type = "token";  // token | sequence
  double token_mask_low = 0.125, token_mask_high = 8.0;
  double sequence_clip_high = 10.0;
  double geo_mask_low = 0.1, geo_mask_high = 10.0;
  double sequence_mask_low = 0.0, sequence_mask_high = 100.0;
  double adv_tau = 1.0, teacher_tau = 0.0, kl_tau = 0.0;
  double clip_low = 0.2, clip_high = 0.2;              // grpo
  double gspo_clip_low = 3e-4, gspo_clip_high = 4e-4;  // gspo
  double dppo_mask_low = 0.2, dppo_mask_high = 0.2;    // dppo, the low one also distill
  double ipo_threshold = 0.1;                          // ipo
  void describe(config::Schema& s);
  // Throws bad_input for an unknown type, a low bound not under its high bound, and options that the type
  // does not read.
  void validate() const;
  // What policy_loss divides by: the step's loss tokens, or its documents with loss tokens for ratio_type
  // sequence and gspo.
  bool divides_by_sequences() const {
    return type == "gspo" || (type == "default" && ratio_type == "sequence");
  }
  // True if rollouts must come with log-probabilities of a teacher.
  bool needs_teacher() const { return type == "distill" || teacher_tau > 0; }
};

// One document; index t of every stream is about token t itself. All of one length; teacher_logprobs and
// entropies may be empty.
struct DocumentStreams {
  std::span<const float> trainer_logprobs, inference_logprobs, advantages, teacher_logprobs;
  std::span<const float> entropies;
  std::span<const std::uint8_t> mask;
};

struct Mismatch {
  std::int64_t document = 0, token = 0;  // place in the step's documents, and in that document
  float trainer = 0, inference = 0;      // the two log-probabilities
};

// Values gathered over documents of a step; distributions are logged under the reference's names. Per token
// of the mask: entropy, trainer_probs, inference_probs, is_masked and its low and high. Per document that has
// loss tokens: the others. (The reference also counts padding sequences as 0, which dilutes them; here there
// is no padding.)
struct LossMetrics {
  double loss = 0;  // sum over documents, already divided by `scale`
  // Of each document the mean over its own loss tokens, whatever `scale`. (The reference has a value for each
  // micro-batch, which depends on how documents were packed.)
  std::vector<double> document_loss;
  std::vector<double> entropy, trainer_probs, inference_probs, mismatch_kl, masked_mismatch_kl,
      unmasked_mismatch_kl, is_masked, is_masked_low, is_masked_high, sequence_masked_low,
      sequence_masked_high, geo_masked_low, geo_masked_high, geo_seq_ratio, teacher_kl;
  std::vector<double> nll;  // -logp of each token that is trained as text (text_loss)
  // Largest |logp_trainer - logp_inference| of a loss token: 0 in exact mode. And the first such token, its
  // document counted in the order of the calls, so that a run can name it.
  double max_abs_mismatch = 0;
  std::optional<Mismatch> first_mismatch;
  std::int64_t documents = 0;  // calls so far
};

// coefficients[t] = d loss / d trainer_logprob[t], 0 where mask is 0; overwritten. `scale` is the global
// divisor (see LossConfig::divides_by_sequences). Everything is computed in f64 from the f32 streams.
void policy_loss(const LossConfig& config, const DocumentStreams& doc, double scale,
                 std::span<float> coefficients, LossMetrics& metrics);

// The part of a document that is trained as text: loss = - sum over its tokens of w_t logp_t / scale, w the
// ce_weights, `scale` the step's number of tokens with a weight (the ce component of prime-rl
// trainer/rl/loss.py, June 2026). Adds to coefficients[t] = d loss / d logp_t, which policy_loss() has set,
// and to metrics.loss and metrics.nll. All spans are of one length.
void text_loss(std::span<const float> trainer_logprobs, std::span<const float> weights, double scale,
               std::span<float> coefficients, LossMetrics& metrics);

}  // namespace rlcpp::train
