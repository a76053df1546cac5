// Philox4x32-10 on the device: the numbers of base/rng.h.
#pragma once

#include <cstdint>

namespace rlcpp::ops::cuda {

struct Philox4 {
  std::uint32_t word[4];
};

// The block that philox4x32(counter_lo, counter_hi, key) of base/rng.h returns.
__device__ inline Philox4 philox4x32(std::uint64_t counter_lo, std::uint64_t counter_hi, std::uint64_t key) {
  Philox4 c = {{static_cast<std::uint32_t>(counter_lo), static_cast<std::uint32_t>(counter_lo >> 32),
                static_cast<std::uint32_t>(counter_hi), static_cast<std::uint32_t>(counter_hi >> 32)}};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c.word[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * c.word[2];
    c = {{static_cast<std::uint32_t>(p1 >> 32) ^ c.word[1] ^ k0, static_cast<std::uint32_t>(p1),
          static_cast<std::uint32_t>(p0 >> 32) ^ c.word[3] ^ k1, static_cast<std::uint32_t>(p0)}};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

}  // namespace rlcpp::ops::cuda
