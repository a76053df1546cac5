// Inverse frequencies as in transformers' modeling_rope_utils.py and the tables of cos and sin made from
// them.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/decoder.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

// theta^(2 i / head_dim), with the exponent rounded to f32 as there.
float position_frequency(const ModelConfig& config, std::int64_t i) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
  return static_cast<float>(std::pow(config.rope.theta, static_cast<double>(exponent)));
}

// Llama 3.1's smoothing: long wavelengths are slowed down by `factor`, short ones kept, those between
// interpolated.
float llama3_frequency(const RopeConfig& rope, float frequency) {
  const auto original = static_cast<float>(rope.original_max_position);
  const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
  const auto factor = static_cast<float>(rope.factor);
  const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
  if (wavelength > original / low) return frequency / factor;
  if (wavelength < original / high) return frequency;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

// The ramp of YaRN (Peng et al. 2023): where it starts and how many dimensions it spans, between
// extrapolation and interpolation.
struct YarnRamp {
  float low, width;
};
YarnRamp yarn_ramp(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const auto dimension_of = [&](double rotations) {
    return static_cast<double>(config.head_dim) *
           std::log(static_cast<double>(rope.original_max_position) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast), high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;  // as there: prevents a division by zero
  return {static_cast<float>(low), static_cast<float>(high - low)};
}

}  // namespace

std::vector<float> inverse_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const auto factor = static_cast<float>(rope.factor);
  std::vector<float> frequencies(static_cast<std::size_t>(config.head_dim / 2));
  const YarnRamp ramp = rope.kind == RopeKind::kYarn ? yarn_ramp(config) : YarnRamp{0, 1};
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float wave = position_frequency(config, static_cast<std::int64_t>(i));
    const float plain = 1.0F / wave;
    switch (rope.kind) {
      case RopeKind::kDefault:
        frequencies[i] = plain;
        break;
      case RopeKind::kLinear:
        frequencies[i] = plain / factor;
        break;
      case RopeKind::kLlama3:
        frequencies[i] = llama3_frequency(rope, plain);
        break;
      case RopeKind::kYarn: {
        const float share = std::clamp((static_cast<float>(i) - ramp.low) / ramp.width, 0.0F, 1.0F);
        const float extrapolated = 1.0F - share;
        frequencies[i] = (1.0F / (factor * wave)) * (1.0F - extrapolated) + plain * extrapolated;
        break;
      }
    }
  }
  return frequencies;
}

float attention_factor(const RopeConfig& rope) {
  if (rope.kind != RopeKind::kYarn) return 1.0F;
  if (rope.attention_factor != 0) return static_cast<float>(rope.attention_factor);
  return rope.factor <= 1 ? 1.0F : static_cast<float>(0.1 * std::log(rope.factor) + 1.0);
}

RopeRegions plan_rope(const ModelConfig& config, MemoryPlan& plan, std::int64_t positions) {
  return {plan.add(MemoryUse::kWorkspace, "rope cos", DType::kF32, {positions, config.head_dim / 2}),
          plan.add(MemoryUse::kWorkspace, "rope sin", DType::kF32, {positions, config.head_dim / 2})};
}

RopeTables make_rope(const ModelConfig& config, const Arena& arena, const RopeRegions& regions) {
  RopeTables tables{arena[regions.cos], arena[regions.sin]};
  const std::vector<float> frequencies = inverse_frequencies(config);
  const auto half = static_cast<std::int64_t>(frequencies.size());
  const float factor = attention_factor(config.rope);
  HostFloats cosines(tables.cos, false), sines(tables.sin, false);
  float* cos = cosines.values().data();
  float* sin = sines.values().data();
  for (std::int64_t position = 0; position < tables.cos.dim(0); ++position) {
    for (std::int64_t i = 0; i < half; ++i) {
      // The angle is rounded to f32 as in transformers: at far positions the rounding is what both must
      // share.
      const float angle = static_cast<float>(position) * frequencies[static_cast<std::size_t>(i)];
      cos[position * half + i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
      sin[position * half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
    }
  }
  cosines.store();
  sines.store();
  return tables;
}

}  // namespace rlcpp::model
