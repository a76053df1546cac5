// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). A number is a pure function of (seed, stream, counter), so results do not depend on threads,
// batch composition or on how far another consumer has read. There is no hidden state to save: a checkpoint
// stores the counter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace rlcpp {

using PhiloxBlock = std::array<std::uint32_t, 4>;

// One block of four 32-bit words for a 128-bit counter and a 64-bit key.
PhiloxBlock philox4x32(std::uint64_t counter_lo, std::uint64_t counter_hi, std::uint64_t key);

// SplitMix64's finaliser: turns related integers (seed, epoch, index) into unrelated keys.
std::uint64_t mix64(std::uint64_t value);
inline std::uint64_t mix64(std::uint64_t a, std::uint64_t b) {
  return mix64(mix64(a) ^ (b + 0x9e3779b97f4a7c15ULL));
}

// A reading head on one stream of numbers; copyable, and exactly its three words long when saved.
class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint32_t next_u32();
  std::uint64_t next_u64();
  // Uniform in [0, 1) with 24 bits: exactly representable in f32.
  float uniform();
  // Uniform in [0, 1) with 53 bits.
  double uniform_double();
  // Uniform in [0, bound), without modulo bias; bound > 0.
  std::uint64_t below(std::uint64_t bound);
  // Standard normal by Box and Muller, one value a call.
  float normal();

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  // Words read so far; set_position() makes the next read continue there.
  std::uint64_t position() const { return position_; }
  void set_position(std::uint64_t position) { position_ = position; }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
};

// Fisher-Yates with `rng`; the permutation depends only on the seed, the stream and the size.
template <class Vector>
void shuffle(Vector& values, Rng& rng) {
  for (std::size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[rng.below(i)]);
  }
}

}  // namespace rlcpp
