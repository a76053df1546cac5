// Checksums of tensors where they lie, so that weights that came over a network are verified at the speed of
// the memory that holds them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/context.h"

namespace rlcpp::ops {

// Of each tensor's bytes, as 32-bit little-endian words with zeros behind the last byte: the sum over words
// of a mixed (place, word), modulo 2^64; the mixer is SplitMix64's finaliser (Steele, Lea, Flood, "Fast
// splittable pseudorandom number generators", 2014), a bijection. Integer sums have no order, so the same
// bytes have the same checksum on every device. One changed word is always seen, any other change but for one
// in 2^64. Not against somebody who wants to be wrong. `sums`: [at least as many as tensors] i64 on the
// context's device, where they are left on a GPU; waits for them. Any type; contiguous, under 16 GiB each,
// aligned to 4 bytes.
std::vector<std::uint64_t> checksums(const Context& ctx, std::span<const Tensor> tensors, const Tensor& sums);

}  // namespace rlcpp::ops
