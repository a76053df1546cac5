// The losses of a packed row, document by document, and what a step's sums are divided by.
#pragma once

#include <span>
#include <vector>

#include "data/batch.h"
#include "train/loss/loss.h"

namespace rlcpp::train {

// One divisor for all micro-batches of a step: how rows are grouped does not change the gradient.
struct Scales {
  double policy = 0;  // loss tokens, or documents with one (LossConfig::divides_by_sequences)
  double text = 0;    // tokens with a ce_weight
};
Scales scales_of(const std::vector<data::MicroBatch>& batches, const LossConfig& config);

// Streams by token, as the row has them. coefficients[t] = d loss / d logprob_t, overwritten: policy_loss()
// of each document, and text_loss() of a row that has ce_weights.
void row_loss(const LossConfig& config, const data::MicroBatch& row, std::span<const float> logprobs,
              std::span<const float> entropies, const Scales& scales, std::span<float> coefficients,
              LossMetrics& metrics);

}  // namespace rlcpp::train
