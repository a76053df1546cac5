// y = x w^T for up to 16 rows of x, as a rollout engine has them when few sequences are left: the weight is
// read once, at the memory's speed, and there is nothing to fill tiles of cuBLASLt with. Of mode fast: its
// order of sums is not that of cuBLASLt's kernels.
#pragma once

#include "ops/context.h"

namespace rlcpp::ops::cuda {

struct NarrowProduct {
  Tensor y;          // [M, N] bf16 or f32; with `swiglu` [M, N / 2] bf16
  Tensor x;          // [M, K] bf16
  Tensor w;          // [N, K] bf16
  Tensor bias = {};  // [N] bf16, or empty
  Tensor gain = {};  // [K] bf16: the product is of rmsnorm(x); empty: of x
  float eps = 0;
  bool swiglu = false;  // y = silu(first half) * second half, of rounded outputs
  bool add = false;     // y += the rounded outputs; bf16
  // It may begin before the operation in front of it has ended (overlap.cuh): for weights that settled
  // before.
  bool overlapped = false;
};
// False, and nothing done, for other sizes: M above 16, N no multiple of 16, K no multiple of 32, rows that
// do not begin at multiples of 16 bytes.
bool narrow_product(const Context& ctx, const NarrowProduct& product);

}  // namespace rlcpp::ops::cuda
