// Random values in tensors: initial weights. For starting up, so without a context: on a GPU a call returns
// when the device has done everything it was given, and this.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace rlcpp::ops {

// A sequence of standard normal variates; base/rng.h has Philox.
struct NormalStream {
  std::uint64_t seed = 0, stream = 0;
};

// Elements of one piece of the sequence: 64 Philox blocks, whose words lie one behind the other so that
// processors compute them side by side. Element 256 b + 64 w + i is variate w of block 64 b + i.
inline constexpr std::int64_t kNormalPiece = 256;

// t[i] = range * element (first + i) of the sequence; t: any shape, f32 or bf16 (rounded to nearest), on any
// device. first: a multiple of kNormalPiece. The values are Box and Muller's, with 24 bits of each uniform,
// of IEEE additions, multiplications, divisions and square roots alone, so they are the same bits on every
// device and with any threads; absolute error below 3e-6, largest value 5.8 (times range). `pool`: threads of
// the CPU; may be null.
void fill_normal(const Tensor& t, const NormalStream& stream, float range, std::int64_t first = 0,
                 ThreadPool* pool = nullptr);

}  // namespace rlcpp::ops
