// y = x w^T for up to 16 rows of x, as a rollout engine has them when few sequences are left: the weight is
// read once, at the memory's speed, and there is nothing to fill tiles of cuBLASLt with. Of mode fast: its
// order of sums is not that of cuBLASLt's kernels.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

// y [M, N] bf16 or f32, x [M, K], w [N, K] bf16, bias [N] bf16 or empty. False, and nothing done, for other
// sizes: M above 16, N no multiple of 16, K no multiple of 32, rows that do not begin at multiples of 16
// bytes.
bool narrow_product(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& bias);

}  // namespace rlcpp::ops::cuda
