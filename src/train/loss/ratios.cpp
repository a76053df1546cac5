#include "train/loss/ratios.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rlcpp::train {

Ratios ratios_of(const DocumentStreams& doc) {
  Ratios out;
  out.smallest = std::numeric_limits<double>::infinity();
  out.largest = -std::numeric_limits<double>::infinity();
  for (std::size_t t = 0; t < doc.mask.size(); ++t) {
    if (doc.mask[t] == 0) continue;
    const double d =
        static_cast<double>(doc.trainer_logprobs[t]) - static_cast<double>(doc.inference_logprobs[t]);
    const double ratio = std::exp(d);
    out.tokens.push_back(t);
    out.log_ratio.push_back(d);
    out.ratio.push_back(ratio);
    out.sum_log += d;
    out.smallest = std::min(out.smallest, ratio);
    out.largest = std::max(out.largest, ratio);
  }
  out.geometric = std::exp(out.sum_log / static_cast<double>(out.tokens.size()));
  return out;
}

namespace {

// Mean that is 0 for nothing, as the reference's.
class Mean {
 public:
  void add(double value) {
    sum_ += value;
    count_ += 1;
  }
  double value() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

}  // namespace

void add_metrics(const DocumentStreams& doc, const Ratios& ratios, const Masked& masked,
                 LossMetrics& metrics) {
  Mean all, rejected, kept, teacher;
  for (std::size_t i = 0; i < ratios.tokens.size(); ++i) {
    const std::size_t t = ratios.tokens[i];
    const double d = ratios.log_ratio[i];
    const double kl = ratios.ratio[i] - d - 1.0;  // >= 0: Schulman's k3 estimator of KL(inference || trainer)
    all.add(kl);
    (masked.at(i) ? rejected : kept).add(kl);
    metrics.trainer_probs.push_back(std::exp(static_cast<double>(doc.trainer_logprobs[t])));
    if (!doc.inference_logprobs.empty()) {
      metrics.inference_probs.push_back(std::exp(static_cast<double>(doc.inference_logprobs[t])));
    }
    if (!doc.entropies.empty()) metrics.entropy.push_back(static_cast<double>(doc.entropies[t]));
    if (!doc.teacher_logprobs.empty()) {
      teacher.add(static_cast<double>(doc.teacher_logprobs[t]) -
                  static_cast<double>(doc.trainer_logprobs[t]));
    }
    metrics.is_masked.push_back(masked.at(i) ? 1 : 0);
    metrics.is_masked_low.push_back(masked.low[i] != 0 ? 1 : 0);
    metrics.is_masked_high.push_back(masked.high[i] != 0 ? 1 : 0);
    metrics.max_abs_mismatch = std::max(metrics.max_abs_mismatch, std::abs(d));
    if (d != 0 && !metrics.first_mismatch.has_value()) {  // true for NaN as well
      metrics.first_mismatch = {metrics.documents, static_cast<std::int64_t>(t), doc.trainer_logprobs[t],
                                doc.inference_logprobs[t]};
    }
  }
  metrics.mismatch_kl.push_back(all.value());
  metrics.masked_mismatch_kl.push_back(rejected.value());
  metrics.unmasked_mismatch_kl.push_back(kept.value());
  metrics.sequence_masked_low.push_back(masked.sequence_low ? 1 : 0);
  metrics.sequence_masked_high.push_back(masked.sequence_high ? 1 : 0);
  metrics.geo_masked_low.push_back(masked.geo_low ? 1 : 0);
  metrics.geo_masked_high.push_back(masked.geo_high ? 1 : 0);
  metrics.geo_seq_ratio.push_back(ratios.geometric);
  if (!doc.teacher_logprobs.empty()) metrics.teacher_kl.push_back(teacher.value());
}

}  // namespace rlcpp::train
