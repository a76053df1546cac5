// Float64 reference of ops/head.h for tests.
#pragma once

#include "ops/reference/matmul.h"

namespace rlcpp::ops::reference {

struct HeadCase {
  std::int64_t rows = 0, hidden_size = 0, vocabulary = 0;
  Doubles hidden;  // [rows, hidden_size]
  Doubles w;       // [vocabulary, hidden_size]
  std::vector<std::int32_t> targets;
  Doubles temperatures;
};

struct HeadOutput {
  Doubles logprobs, entropies;  // [rows]; 0 without a target
};
HeadOutput head_forward(const HeadCase& c);

struct HeadGradient {
  Doubles dhidden, dw;
};
// coefficients [rows] = d loss / d logprob.
HeadGradient head_backward(const HeadCase& c, const Doubles& coefficients);

}  // namespace rlcpp::ops::reference
