// The head on Hopper, without logits in memory: the product with the weight ends in the softmax's weights
// themselves. For a row r with target t let m be its own score z_t (before the others are known a reference
// is needed that keeps exp in range, and the target's is known from one dot product):
//   e_v = exp(z_v - m)     bf16, v != t
//   others = sum of e_v,   total = others + e_t
//   logprob = (z_t - m) - log total,  entropy = log total - sum e (z - m) / total
//   e_t is stored as -others, so that d logprob / d z_v = (onehot_v - p_v) / T = -e_v / (T total) in every
//   column
// With f_r = -c_r / (T_r total_r) the gradients are products with e as it lies in memory:
//   dhidden = f_r (e w)_r,   dw += e^T (f hidden).
// No element of e is read but by these products. 1 - p_t is -e_t / total without a difference of near
// numbers. A row whose total leaves the range (a target more than 41 below the others, in nats) is computed
// again about its maximum.
#pragma once

#include "ops/cuda/head.h"

namespace rlcpp::ops::cuda {

// True if this visit can be computed so: a GPU with the code, widths that the copy engine takes, and a
// workspace of logits with room for at least one row.
bool hopper_head_takes(const HeadInputs& in);

// As head_visit of head.h.
void hopper_head_visit(const Context& ctx, const HeadVisit& visit, const HeadInputs& in);

}  // namespace rlcpp::ops::cuda
