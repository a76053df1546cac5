// Float64 reference of ops/sampling.h for tests.
#pragma once

#include "ops/reference/matmul.h"
#include "ops/sampling.h"

namespace rlcpp::ops::reference {

// The probabilities that a token is drawn from, given raw logits; temperature > 0. Tokens that cannot be
// drawn get 0.
Doubles sampling_distribution(const Doubles& logits, const SamplingParams& params,
                              const std::vector<std::int32_t>& seen);

}  // namespace rlcpp::ops::reference
