// Float64 reference of ops/attention.h for tests.
#pragma once

#include "ops/reference/matmul.h"
#include "ops/rope.h"

namespace rlcpp::ops::reference {

struct AttentionOutput {
  Doubles out;  // [M, num_heads * head_dim]
  Doubles lse;  // [M, num_heads]
};
// qkv [M, width], documents given by cu_seqlens.
AttentionOutput attention_forward(const Doubles& qkv, const std::vector<std::int32_t>& cu_seqlens,
                                  const QkvShape& shape, double scale);
Doubles attention_backward(const Doubles& dout, const Doubles& qkv,
                           const std::vector<std::int32_t>& cu_seqlens, const QkvShape& shape, double scale);

}  // namespace rlcpp::ops::reference
