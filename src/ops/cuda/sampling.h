// CUDA form of ops/sampling.h and ops/shaped_rows.h; shapes are checked there.
#pragma once

#include "ops/shaped_rows.h"

namespace rlcpp::ops::cuda {

void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms);
void take_sampled(const Context& ctx, const Tensor& ids, const Tensor& sources, const Tensor& drawn);
void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped);

}  // namespace rlcpp::ops::cuda
