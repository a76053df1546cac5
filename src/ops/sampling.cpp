#include "ops/sampling.h"

#include "base/rng.h"
#include "ops/checks.h"
#include "ops/cpu/sampling.h"
#include "ops/cuda/sampling.h"

namespace rlcpp::ops {

SampledToken sample_row(std::span<float> logits, float lse, const SamplingParams& params,
                        std::span<const std::int32_t> seen, float uniform) {
  RLCPP_CHECK(!logits.empty() && uniform >= 0 && uniform < 1);
  return cpu::sample_row(cpu::best_kernels(), logits, lse, params, seen, uniform);
}

SampledToken sample_raw_row(std::span<float> logits, const SamplingParams& params,
                            std::span<const std::int32_t> seen, float uniform) {
  RLCPP_CHECK(!logits.empty() && uniform >= 0 && uniform < 1);
  return cpu::sample_raw_row(cpu::best_kernels(), logits, params, seen, uniform);
}

void sample_rows(const Context& ctx, const Tensor& ids, const Tensor& logprobs, const Tensor& logits,
                 const Tensor& temperatures, const Tensor& uniforms) {
  RLCPP_CHECK(logits.rank() == 2 && logits.dim(1) > 0);
  const std::int64_t rows = logits.dim(0);
  RLCPP_CHECK(is_f32(logits, {rows, logits.dim(1)}) && is_i32(ids, {rows}) && is_f32(logprobs, {rows}));
  RLCPP_CHECK(is_f32(temperatures, {rows}) && is_f32(uniforms, {rows}));
  if (ctx.on_gpu()) return cuda::sample_rows(ctx, ids, logprobs, logits, temperatures, uniforms);
  cpu::sample_rows(ctx, ids, logprobs, logits, temperatures, uniforms);
}

void take_sampled(const Context& ctx, const Tensor& ids, const Tensor& sources, const Tensor& drawn) {
  RLCPP_CHECK(is_i32(ids, {ids.dim(0)}) && is_i32(sources, {ids.dim(0)}) && is_i32(drawn, {drawn.dim(0)}));
  if (ctx.on_gpu()) return cuda::take_sampled(ctx, ids, sources, drawn);
  const auto from = sources.i32_span(), of = drawn.i32_span();
  for (std::size_t i = 0; i < from.size(); ++i) {
    RLCPP_CHECK(from[i] < drawn.dim(0));
    if (from[i] >= 0) ids.i32()[i] = std::max(of[static_cast<std::size_t>(from[i])], 0);
  }
}

float draw_uniform(std::uint64_t seed, std::int64_t index) {
  // "sampling" as a number keeps these draws apart from other uses of one seed.
  constexpr std::uint64_t kPurpose = 0x73616d706c696e67ULL;
  const PhiloxBlock block = philox4x32(static_cast<std::uint64_t>(index), kPurpose, mix64(seed));
  return static_cast<float>(block[0] >> 8) * 0x1p-24F;
}

}  // namespace rlcpp::ops
