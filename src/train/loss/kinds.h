// The kinds of loss, one file each.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "train/loss/loss.h"

namespace rlcpp::train {

struct LossKind {
  std::string name;
  std::string summary;  // for --help and the docs
  // Same contract as policy_loss(); called with a document that has at least one loss token.
  void (*run)(const LossConfig& config, const DocumentStreams& doc, double scale,
              std::span<float> coefficients, LossMetrics& metrics);
};

LossKind default_loss();
LossKind grpo_loss();
LossKind cross_entropy_loss();
LossKind dppo_loss();
LossKind ipo_loss();
LossKind gspo_loss();
LossKind distill_loss();

const std::vector<LossKind>& loss_kinds();

}  // namespace rlcpp::train
