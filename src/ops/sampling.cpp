#include "ops/sampling.h"

#include "base/rng.h"
#include "ops/cpu/sampling.h"

namespace rlcpp::ops {

SampledToken sample_row(std::span<float> logits, float lse, const SamplingParams& params,
                        std::span<const std::int32_t> seen, float uniform) {
  RLCPP_CHECK(!logits.empty() && uniform >= 0 && uniform < 1);
  return cpu::sample_row(cpu::best_kernels(), logits, lse, params, seen, uniform);
}

float draw_uniform(std::uint64_t seed, std::int64_t index) {
  // "sampling" as a number keeps these draws apart from other uses of one seed.
  constexpr std::uint64_t kPurpose = 0x73616d706c696e67ULL;
  const PhiloxBlock block = philox4x32(static_cast<std::uint64_t>(index), kPurpose, mix64(seed));
  return static_cast<float>(block[0] >> 8) * 0x1p-24F;
}

}  // namespace rlcpp::ops
