// Float64 reference of ops/rope.h for tests.
#pragma once

#include "ops/reference/matmul.h"
#include "ops/rope.h"

namespace rlcpp::ops::reference {

// The parameters of one call; q_norm and k_norm [head_dim] may be empty.
struct RopeCase {
  QkvShape shape;
  std::int64_t rows = 0;
  Doubles q_norm, k_norm;
  Doubles cos, sin;  // [P, head_dim / 2]
  std::vector<std::int32_t> positions;
  double eps = 0;
};

Doubles qk_norm_rope_forward(const RopeCase& c, const Doubles& qkv);

struct RopeGradient {
  Doubles dqkv, dq_norm, dk_norm;
};
RopeGradient qk_norm_rope_backward(const RopeCase& c, const Doubles& dout, const Doubles& qkv);

}  // namespace rlcpp::ops::reference
