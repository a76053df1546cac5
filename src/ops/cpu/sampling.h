// CPU form of ops/sampling.h and ops/shaped_rows.h, with the table of kernels as an argument.
#pragma once

#include "ops/cpu/kernels.h"
#include "ops/shaped_rows.h"

namespace rlcpp::ops::cpu {

SampledToken sample_row(const Kernels& kernels, std::span<float> logits, float lse,
                        const SamplingParams& params, std::span<const std::int32_t> seen, float uniform);
SampledToken sample_raw_row(const Kernels& kernels, std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> seen, float uniform);
void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms);
void sample_shaped_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                        const ShapedRows& shaped);

}  // namespace rlcpp::ops::cpu
