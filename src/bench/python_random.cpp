#include "bench/python_random.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/error.h"

namespace rlcpp::bench {
namespace {

constexpr std::size_t kShift = 397;

}  // namespace

// Two passes over the state, as the authors' init_by_array.
PythonRandom::PythonRandom(std::uint64_t seed) {
  std::vector<std::uint32_t> key = {static_cast<std::uint32_t>(seed)};
  if (seed >> 32 != 0) key.push_back(static_cast<std::uint32_t>(seed >> 32));
  state_[0] = 19650218;
  for (std::size_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
  }
  std::size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i < kWords) return;
    state_[0] = state_[kWords - 1];
    i = 1;
  };
  for (std::size_t k = std::max(kWords, key.size()); k > 0; --k) {
    const std::uint32_t mixed = (state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525U;
    state_[i] = (state_[i] ^ mixed) + key[j] + static_cast<std::uint32_t>(j);
    advance();
    j = (j + 1) % key.size();
  }
  for (std::size_t k = kWords - 1; k > 0; --k) {
    const std::uint32_t mixed = (state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941U;
    state_[i] = (state_[i] ^ mixed) - static_cast<std::uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000U;
}

void PythonRandom::refill() {
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kWords] & 0x7fffffffU);
    state_[i] = state_[(i + kShift) % kWords] ^ (y >> 1) ^ ((y & 1U) != 0 ? 0x9908b0dfU : 0U);
  }
  at_ = 0;
}

std::uint32_t PythonRandom::next() {
  if (at_ == kWords) refill();
  std::uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

std::uint32_t PythonRandom::bits(int bits) {
  RLCPP_CHECK(bits >= 1 && bits <= 32);
  return next() >> (32 - bits);
}

// As many bits as the width has, again until they are below it (Lib/random.py, _randbelow).
std::int64_t PythonRandom::randint(std::int64_t least, std::int64_t most) {
  RLCPP_CHECK(least <= most && most - least < (std::int64_t{1} << 32) - 1);
  const auto width = static_cast<std::uint64_t>(most - least) + 1;
  const int count = std::bit_width(width);
  std::uint32_t drawn = bits(count);
  while (drawn >= width) drawn = bits(count);
  return least + static_cast<std::int64_t>(drawn);
}

}  // namespace rlcpp::bench
