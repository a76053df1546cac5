// What a GPU's FP8 products would be, for tests and for trying a configuration without a GPU: nothing here is
// made to be fast.
#include "ops/cpu/fp8.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::uint8_t kSign = 0x80, kNan = 0x7f, kMost = 0x7e;
constexpr float kSmallestLargest = 0x1p-100F;  // so that 448 / largest is finite

// To the nearest, ties to even, at most 448.
std::uint8_t e4m3_of(float value) {
  if (std::isnan(value)) return kNan;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & kSign);
  const float size = std::fabs(value);
  if (size >= kFp8Largest) return sign | kMost;
  // Below 2^-6 the step is 2^-9; adding 2^14 to a float leaves it steps of 2^-9, rounded as we want.
  if (size < 0x1p-6F) {
    const float steps = (size + 0x1p14F) - 0x1p14F;
    return sign | static_cast<std::uint8_t>(steps * 0x1p9F);
  }
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  const std::uint32_t rounded = magnitude + 0x7ffffU + (magnitude >> 20 & 1U);
  return sign | static_cast<std::uint8_t>(std::min((rounded >> 20) - (120U << 3), std::uint32_t{kMost}));
}

float f32_of(std::uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  if ((code & kNan) == kNan) return std::bit_cast<float>(0x7fc00000U);
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                   : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return (code & kSign) != 0 ? -size : size;
}

const std::array<float, 256>& values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> all{};
    for (std::size_t code = 0; code < all.size(); ++code) all[code] = f32_of(static_cast<std::uint8_t>(code));
    return all;
  }();
  return table;
}

float clamped(float largest) {
  return std::isnan(largest) ? largest : std::max(largest, kSmallestLargest);
}

std::uint8_t* bytes(const Tensor& t) {
  return static_cast<std::uint8_t*>(t.raw());
}

// The values of a matrix, which products of them have exactly.
std::vector<float> decoded(const Tensor& q) {
  const std::array<float, 256>& table = values();
  std::vector<float> out(static_cast<std::size_t>(q.size()));
  std::transform(bytes(q), bytes(q) + q.size(), out.begin(), [&](std::uint8_t code) { return table[code]; });
  return out;
}

float dot(const float* a, const float* b, std::int64_t k) {
  static_assert(kFp8Step == 16);
  std::array<float, kFp8Step> sums{};
  for (std::int64_t i = 0; i < k; i += kFp8Step) {
    for (std::size_t lane = 0; lane < sums.size(); ++lane)
      sums[lane] += a[i + static_cast<std::int64_t>(lane)] * b[i + static_cast<std::int64_t>(lane)];
  }
  for (std::size_t half = sums.size() / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

}  // namespace

void fp8_largest(const Context&, const Tensor& largest, const Tensor& x) {
  // As integers, magnitudes are in order, and what is not a number is above them all.
  auto most = std::bit_cast<std::uint32_t>(*largest.f32());
  for (std::int64_t i = 0; i < x.size(); ++i)
    most = std::max(most, std::bit_cast<std::uint32_t>(x.f32()[i]) & 0x7fffffffU);
  *largest.f32() = std::bit_cast<float>(most);
}

void fp8_quantize(const Context& ctx, const Tensor& q, const Tensor& qt, const Tensor& scale, const Tensor& x,
                  const Tensor& largest) {
  const float most = clamped(*largest.f32()), factor = kFp8Largest / most;
  *scale.f32() = most / kFp8Largest;
  const std::int64_t m = x.dim(0), k = x.dim(1), padded = fp8_padded(m);
  if (!qt.empty()) std::fill_n(bytes(qt), qt.size(), std::uint8_t{0});
  parallel(ctx, m, 8.0 * static_cast<double>(x.size()), [&](std::int64_t row) {
    for (std::int64_t i = 0; i < k; ++i) {
      const std::uint8_t code = e4m3_of(x.f32()[row * k + i] * factor);
      if (!q.empty()) bytes(q)[row * k + i] = code;
      if (!qt.empty()) bytes(qt)[i * padded + row] = code;
    }
  });
}

void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate) {
  const std::int64_t m = a.dim(0), n = b.dim(0), k = a.dim(1);
  const float scale = *scale_a.f32() * *scale_b.f32();
  const std::vector<float> left = decoded(a), right = decoded(b);
  parallel(ctx, m, static_cast<double>(m) * static_cast<double>(n * k), [&](std::int64_t row) {
    for (std::int64_t column = 0; column < n; ++column) {
      float sum = scale * dot(left.data() + row * k, right.data() + column * k, k);
      if (!bias.empty()) sum += bias.f32()[column];
      float& to = out.f32()[row * n + column];
      to = accumulate ? to + sum : sum;
    }
  });
}

}  // namespace rlcpp::ops::cpu
