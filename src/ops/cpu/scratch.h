// Temporary memory of one operation on one thread: aligned buffers that grow to the largest size asked for
// and are then reused, so that a step in steady state allocates nothing.
#pragma once

#include <cstdint>

namespace rlcpp::ops::cpu {

// One buffer a purpose, so that nested uses do not meet.
enum class Scratch : std::uint8_t {
  kProductA,
  kProductPartial,
  kProductB,
  kReduction,
  kAttentionTiles,
  kAttention,
  kHeadRows,
  kHeadGradient,
  kSampling,
  kCount,
};

// At least `floats` floats, aligned to 64 bytes, not initialised; valid until the next call for this slot on
// this thread.
float* thread_scratch(Scratch slot, std::int64_t floats);

}  // namespace rlcpp::ops::cpu
