#include "train/row_loss.h"

#include <algorithm>

namespace rlcpp::train {

Scales scales_of(const std::vector<data::MicroBatch>& batches, const LossConfig& config) {
  std::int64_t sequences = 0, tokens = 0, text = 0;
  bool rl = false;
  for (const data::MicroBatch& batch : batches) {
    tokens += batch.loss_tokens();
    text += batch.ce_tokens();
    rl = rl || batch.rl;
    for (std::size_t d = 0; d + 1 < batch.cu_seqlens.size(); ++d) {
      const auto begin = batch.mask.begin() + batch.cu_seqlens[d];
      const auto end = batch.mask.begin() + batch.cu_seqlens[d + 1];
      sequences += std::find(begin, end, 1) != end;
    }
  }
  const bool by_sequence = rl && config.divides_by_sequences();
  return {static_cast<double>(by_sequence ? sequences : tokens), static_cast<double>(text)};
}

void row_loss(const LossConfig& config, const data::MicroBatch& row, std::span<const float> logprobs,
              std::span<const float> entropies, const Scales& scales, std::span<float> coefficients,
              LossMetrics& metrics) {
  for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d) {
    const auto begin = static_cast<std::size_t>(row.cu_seqlens[d]);
    const std::size_t count = static_cast<std::size_t>(row.cu_seqlens[d + 1]) - begin;
    const auto part = [&](const auto& stream) { return std::span(stream).subspan(begin, count); };
    DocumentStreams streams;
    streams.trainer_logprobs = part(logprobs);
    streams.entropies = part(entropies);
    streams.inference_logprobs = part(row.inference_logprobs);
    streams.advantages = part(row.advantages);
    if (!row.teacher_logprobs.empty()) streams.teacher_logprobs = part(row.teacher_logprobs);
    streams.mask = part(row.mask);
    policy_loss(config, streams, scales.policy, part(coefficients), metrics);
    if (!row.ce_weights.empty())
      text_loss(streams.trainer_logprobs, part(row.ce_weights), scales.text, part(coefficients), metrics);
  }
}

}  // namespace rlcpp::train
