// CUDA form of ops/sampling.h; shapes are checked there.
#pragma once

#include "ops/sampling.h"

namespace rlcpp::ops::cuda {

void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms);

}  // namespace rlcpp::ops::cuda
