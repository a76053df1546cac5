// Every step is an IEEE operation, and ops/cuda/random.cu makes the same steps: libm's logarithm and cosine
// differ between machines, these do not.
#include "ops/cpu/random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kLanes = 64;  // Philox blocks worked on side by side, so that compilers vectorise
static_assert(kNormalPiece == 4 * kLanes);
constexpr std::int64_t kTask = std::int64_t{1} << 16;  // values of one task: a multiple of kNormalPiece

using Lanes = std::array<float, kLanes>;
using Words = std::array<std::uint32_t, kLanes>;

// ln(x) for x in (0, 1], relative error below 1e-6: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and the series
// of ln m = 2 atanh(t), t = (m - 1) / (m + 1).
inline float log_positive(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t shifted = bits - 0x3f3504f3U;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float m = std::bit_cast<float>((shifted & 0x007fffffU) + 0x3f3504f3U);
  const float t = (m - 1.0F) / (m + 1.0F);
  const float s = t * t;
  const float series = 2.0F + s * (0.66666667F + s * (0.4F + s * (0.28571429F + s * 0.22222222F)));
  return exponent * 0.69314718F + t * series;
}

// cos and sin of 2 pi u, u in [0, 1), absolute error below 1e-6: Taylor's series of a quarter turn about its
// middle.
inline void turn(float u, float& cosine, float& sine) {
  const auto quarter = static_cast<std::int32_t>(u * 4.0F);
  const float a = (u * 4.0F - static_cast<float>(quarter) - 0.5F) * 1.57079633F;  // in [-pi/4, pi/4)
  const float s = a * a;
  const float c0 = 1.0F + s * (-0.5F + s * (0.041666668F + s * (-0.0013888889F + s * 2.4801587e-5F)));
  const float s0 =
      a * (1.0F + s * (-0.16666667F + s * (0.0083333338F + s * (-0.00019841270F + s * 2.7557319e-6F))));
  // The angle is a + (quarter + 1/2) quarter turns: first the half turn of a quarter, then whole quarters.
  const auto c1 = std::bit_cast<std::uint32_t>((c0 - s0) * 0.70710678F);
  const auto s1 = std::bit_cast<std::uint32_t>((c0 + s0) * 0.70710678F);
  // A quarter turn is (c, s) -> (-s, c), a half turn (-c, -s): by masks, since a branch would keep the loop
  // scalar.
  const auto q = static_cast<std::uint32_t>(quarter);
  const std::uint32_t swap = (c1 ^ s1) & (0U - (q & 1U));
  const std::uint32_t half = (q & 2U) << 30;
  cosine = std::bit_cast<float>((c1 ^ swap) ^ ((q & 1U) << 31) ^ half);
  sine = std::bit_cast<float>((s1 ^ swap) ^ half);
}

// Philox4x32-10 of kLanes consecutive counters: the same words as philox4x32.
void philox_lanes(std::uint64_t first, std::uint64_t stream, std::uint64_t seed,
                  std::array<Words, 4>& words) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    const std::uint64_t counter = first + i;
    words[0][i] = static_cast<std::uint32_t>(counter);
    words[1][i] = static_cast<std::uint32_t>(counter >> 32);
    words[2][i] = static_cast<std::uint32_t>(stream);
    words[3][i] = static_cast<std::uint32_t>(stream >> 32);
  }
  auto k0 = static_cast<std::uint32_t>(seed);
  auto k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * words[0][i];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * words[2][i];
      words[0][i] = static_cast<std::uint32_t>(p1 >> 32) ^ words[1][i] ^ k0;
      words[2][i] = static_cast<std::uint32_t>(p0 >> 32) ^ words[3][i] ^ k1;
      words[1][i] = static_cast<std::uint32_t>(p1);
      words[3][i] = static_cast<std::uint32_t>(p0);
    }
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
}

// kNormalPiece standard normals by Box and Muller: a Philox block gives two pairs. Layout: value w of lane i
// at w * kLanes + i.
void normal_piece(std::uint64_t first, std::uint64_t stream, std::uint64_t seed, std::array<Lanes, 4>& out) {
  std::array<Words, 4> words;
  philox_lanes(first, stream, seed, words);
  // Three loops, since the call of sqrt (it may set errno) would keep a single one scalar.
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    Lanes radius;
    for (std::size_t i = 0; i < kLanes; ++i) {
      // Both uniforms have 24 bits; this one is in (0, 1], so that the logarithm stays finite: the largest
      // value is 5.8.
      const float u = (static_cast<float>(static_cast<std::int32_t>(words[pair][i] >> 8)) + 1.0F) * 0x1p-24F;
      radius[i] = -2.0F * log_positive(u);
    }
    for (float& value : radius) value = std::sqrt(value);
    for (std::size_t i = 0; i < kLanes; ++i) {
      float cosine = 0, sine = 0;
      turn(static_cast<float>(static_cast<std::int32_t>(words[pair + 1][i] >> 8)) * 0x1p-24F, cosine, sine);
      out[pair][i] = radius[i] * cosine;
      out[pair + 1][i] = radius[i] * sine;
    }
  }
}

void store(float* to, float value) {
  *to = value;
}
void store(std::uint16_t* to, float value) {
  *to = f32_to_bf16(value);
}

template <class T>
void fill(T* values, std::int64_t size, const NormalStream& stream, float range, std::int64_t first) {
  std::array<Lanes, 4> piece;
  for (std::int64_t at = 0; at < size; at += kNormalPiece) {
    normal_piece(static_cast<std::uint64_t>(first + at) / 4, stream.stream, stream.seed, piece);
    const auto count = static_cast<std::size_t>(std::min(kNormalPiece, size - at));
    for (std::size_t i = 0; i < count; ++i) store(values + at + i, range * piece[i / kLanes][i % kLanes]);
  }
}

}  // namespace

void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first,
                 ThreadPool* pool) {
  const auto task = [&](std::int64_t i) {
    const std::int64_t begin = i * kTask, count = std::min(kTask, t.size() - begin);
    if (t.dtype() == DType::kF32) {
      fill(static_cast<float*>(t.raw()) + begin, count, stream, range, first + begin);
    } else {
      fill(static_cast<std::uint16_t*>(t.raw()) + begin, count, stream, range, first + begin);
    }
  };
  const std::int64_t tasks = (t.size() + kTask - 1) / kTask;
  if (pool != nullptr && tasks > 1) {
    pool->parallel_for(tasks, task);
  } else {
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
  }
}

}  // namespace rlcpp::ops::cpu
