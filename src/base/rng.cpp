#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace rlcpp {
namespace {

constexpr std::uint32_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

}  // namespace

PhiloxBlock philox4x32(std::uint64_t counter_lo, std::uint64_t counter_hi, std::uint64_t key) {
  PhiloxBlock c = {static_cast<std::uint32_t>(counter_lo), static_cast<std::uint32_t>(counter_lo >> 32),
                   static_cast<std::uint32_t>(counter_hi), static_cast<std::uint32_t>(counter_hi >> 32)};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{kMul0} * c[0];
    const std::uint64_t p1 = std::uint64_t{kMul1} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

std::uint64_t mix64(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

std::uint32_t Rng::next_u32() {
  const PhiloxBlock block = philox4x32(position_ / 4, stream_, seed_);
  return block[position_++ % 4];
}

std::uint64_t Rng::next_u64() {
  const std::uint64_t low = next_u32();
  return low | (std::uint64_t{next_u32()} << 32);
}

float Rng::uniform() {
  return static_cast<float>(next_u32() >> 8) * 0x1p-24F;
}

double Rng::uniform_double() {
  return static_cast<double>(next_u64() >> 11) * 0x1p-53;
}

std::uint64_t Rng::below(std::uint64_t bound) {
  // Rejection keeps every value equally likely; at most one extra draw in two on average, for the worst
  // bound.
  const std::uint64_t limit = bound * (UINT64_MAX / bound);
  std::uint64_t value = next_u64();
  while (value >= limit) value = next_u64();
  return value % bound;
}

float Rng::normal() {
  const double u1 = 1.0 - uniform_double();  // in (0, 1]: the logarithm stays finite
  const double u2 = uniform_double();
  return static_cast<float>(std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2));
}

}  // namespace rlcpp
