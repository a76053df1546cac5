#include "tensor/dtype.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support.h"

namespace rlcpp {
namespace {

// The formats by their definition: sign, `exponent_bits` of exponent, `mantissa_bits` of mantissa.
struct Format {
  int exponent_bits, mantissa_bits;
  std::uint16_t (*to)(float);
  float (*from)(std::uint16_t);

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  std::uint32_t infinity() const { return ((1U << exponent_bits) - 1U) << mantissa_bits; }

  // The value of bits that are no NaN, in arithmetic that is exact.
  double value(std::uint32_t bits) const {
    const std::uint32_t magnitude = bits & 0x7fffU;
    const std::uint32_t exponent = magnitude >> mantissa_bits;
    const double mantissa = magnitude & ((1U << mantissa_bits) - 1U);
    double value = 0;
    if (magnitude == infinity()) {
      value = std::numeric_limits<double>::infinity();
    } else if (exponent == 0) {
      value = std::ldexp(mantissa, 1 - bias() - mantissa_bits);
    } else {
      value =
          std::ldexp(mantissa + (1U << mantissa_bits), static_cast<int>(exponent) - bias() - mantissa_bits);
    }
    return (bits & 0x8000U) != 0 ? -value : value;
  }
};

constexpr Format kF16{5, 10, f32_to_f16, f16_to_f32};
constexpr Format kBF16{8, 7, f32_to_bf16, [](std::uint16_t bits) { return bf16_to_f32(bits); }};

class Formats : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    const Format format = GetParam();
    for (std::uint32_t bits = 0; bits < format.infinity(); ++bits) magnitudes_.push_back(format.value(bits));
    // For rounding, infinity stands where the next number would be.
    magnitudes_.push_back(std::ldexp(1.0, format.bias() + 1));
  }

  // Round to nearest, ties to even, by search among all numbers of the format: no bit tricks to share
  // mistakes with.
  std::uint16_t nearest(float value) const {
    const double magnitude = std::abs(static_cast<double>(value));
    const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const auto above = std::lower_bound(magnitudes_.begin(), magnitudes_.end(), magnitude);
    if (above == magnitudes_.end()) return static_cast<std::uint16_t>(sign | GetParam().infinity());
    auto index = static_cast<std::uint32_t>(above - magnitudes_.begin());
    if (index > 0 && *above != magnitude) {
      const double up = *above - magnitude, down = magnitude - magnitudes_[index - 1];
      if (down < up || (down == up && (index - 1) % 2 == 0)) --index;
    }
    return static_cast<std::uint16_t>(sign | index);
  }

  std::vector<double> magnitudes_;
};

TEST_P(Formats, All65536PatternsHaveTheirValueAndComeBack) {
  const Format format = GetParam();
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = format.from(static_cast<std::uint16_t>(bits));
    if ((bits & 0x7fffU) > format.infinity()) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      const std::uint32_t back = format.to(value);
      ASSERT_GT(back & 0x7fffU, format.infinity()) << bits;
      ASSERT_EQ(back & 0x8000U, bits & 0x8000U) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), format.value(bits)) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000U) != 0) << bits;
    ASSERT_EQ(format.to(value), bits);
  }
}

TEST_P(Formats, RoundingIsToNearestEvenAtEveryBoundary) {
  for (std::size_t i = 0; i + 1 < magnitudes_.size(); ++i) {
    const auto middle = static_cast<float>((magnitudes_[i] + magnitudes_[i + 1]) / 2);  // exact in f32
    for (const float value : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 3e38F)}) {
      ASSERT_EQ(GetParam().to(value), nearest(value)) << i;
      ASSERT_EQ(GetParam().to(-value), nearest(-value)) << i;
    }
  }
}

TEST_P(Formats, RandomFloatsRoundToTheNearest) {
  std::mt19937_64 random(test::fresh_seed());
  const int count = test::long_tier() ? 20000000 : 500000;
  for (int i = 0; i < count; ++i) {
    auto bits = static_cast<std::uint32_t>(random());
    // Half of them where f16 lives, which random exponents would seldom meet.
    if (i % 2 == 0) bits = (bits & 0x807fffffU) | (static_cast<std::uint32_t>(100 + random() % 46) << 23);
    const auto value = std::bit_cast<float>(bits);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(GetParam().from(GetParam().to(value)))) << bits;
      continue;
    }
    ASSERT_EQ(GetParam().to(value), nearest(value)) << bits;
  }
}

TEST_P(Formats, SpecialValues) {
  const Format format = GetParam();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(format.to(0.0F), 0);
  EXPECT_EQ(format.to(-0.0F), 0x8000);
  EXPECT_EQ(format.from(format.to(kInfinity)), kInfinity);
  EXPECT_EQ(format.from(format.to(-kInfinity)), -kInfinity);
  EXPECT_EQ(format.from(format.to(std::numeric_limits<float>::max())), kInfinity);
  EXPECT_EQ(format.from(format.to(1.0F)), 1.0F);
  // A NaN whose payload sits in the bits that are cut off must not become an infinity.
  for (const std::uint32_t bits : {0x7f800001U, 0xff800001U, 0x7fffffffU, 0x7fc00000U}) {
    EXPECT_TRUE(std::isnan(format.from(format.to(std::bit_cast<float>(bits))))) << bits;
  }
}

INSTANTIATE_TEST_SUITE_P(Halves, Formats, testing::Values(kF16, kBF16),
                         [](const auto& p) { return p.param.mantissa_bits == 10 ? "f16" : "bf16"; });

// Pairs of torch 2.15: x.to(dtype).view(torch.int16), as an anchor outside this repository.
TEST(Dtype, AgreesWithTorchOnAFew) {
  struct Pair {
    float value;
    std::uint16_t f16, bf16;
  };
  for (const Pair& pair :
       {Pair{0.1F, 0x2e66, 0x3dcd}, Pair{3.14159274F, 0x4248, 0x4049}, Pair{65504.0F, 0x7bff, 0x4780},
        Pair{65520.0F, 0x7c00, 0x4780}, Pair{-1e-7F, 0x8002, 0xb3d7}, Pair{2049.0F, 0x6800, 0x4500},
        Pair{1.00390625F, 0x3c04, 0x3f80}, Pair{1.01171875F, 0x3c0c, 0x3f82}}) {
    EXPECT_EQ(f32_to_f16(pair.value), pair.f16) << pair.value;
    EXPECT_EQ(f32_to_bf16(pair.value), pair.bf16) << pair.value;
  }
}

TEST(Dtype, SizesAndNames) {
  const std::array<std::tuple<DType, std::size_t, const char*>, 7> all = {{{DType::kF32, 4, "f32"},
                                                                           {DType::kBF16, 2, "bf16"},
                                                                           {DType::kF16, 2, "f16"},
                                                                           {DType::kI32, 4, "i32"},
                                                                           {DType::kI64, 8, "i64"},
                                                                           {DType::kU8, 1, "u8"},
                                                                           {DType::kF64, 8, "f64"}}};
  for (const auto& [type, size, name] : all) {
    EXPECT_EQ(size_of(type), size);
    EXPECT_EQ(name_of(type), name);
  }
}

}  // namespace
}  // namespace rlcpp
