// What the losses that mask by a difference of probabilities share (prime-rl trainer/rl/loss.py of 2026; the
// mask is that of arXiv 2602.04879, the quadratic term that of Kimi K2.5, arXiv 2602.02276). For a loss token
// with d = logp_trainer - logp_inference, r = exp(d) and u = exp(logp_trainer) - exp(logp_inference):
//   loss                    = [ - keep a r + kl_tau d^2   ] / scale
//   d loss / d logp_trainer = [ - keep a r + 2 kl_tau d   ] / scale
// The gradient flows through r; a is a constant. The quadratic term holds for rejected tokens too.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "train/loss/loss.h"

namespace rlcpp::train {

enum class Verdict : std::uint8_t { kKeep, kLow, kHigh };

// `signal(t)`: a of the token at place t. `judge(a, u)`: whether the token counts.
void difference_loss(const LossConfig& config, const DocumentStreams& doc, double scale,
                     std::span<float> coefficients, LossMetrics& metrics,
                     const std::function<double(std::size_t)>& signal,
                     const std::function<Verdict(double, double)>& judge);

}  // namespace rlcpp::train
