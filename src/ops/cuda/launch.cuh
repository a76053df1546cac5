// The host's side of a launch: typed addresses of tensors, and grids that are checked.
#pragma once

#include <limits>
#include <type_traits>

#include "ops/cuda/runtime_cuda.h"
#include "ops/cuda/vector.cuh"

namespace rlcpp::ops::cuda {

// The memory of t as T on the GPU; null if t is empty.
template <class T>
T* address(const Tensor& t) {
  constexpr bool kInteger = std::is_same_v<std::remove_const_t<T>, std::int32_t>;
  constexpr DType kType = sizeof(T) == 2 ? DType::kBF16 : kInteger ? DType::kI32 : DType::kF32;
  static_assert(sizeof(T) == size_of(kType));
  RLCPP_CHECK(t.empty() || (t.dtype() == kType && t.device().kind == DeviceKind::kCuda));
  return static_cast<T*>(t.raw());
}

constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// The x dimension of a grid.
inline unsigned grid_of(std::int64_t blocks) {
  RLCPP_CHECK(blocks > 0 && blocks <= std::numeric_limits<std::int32_t>::max());
  return static_cast<unsigned>(blocks);
}

// Threads that hold one vector each of `columns` values: whole warps, as many as a block can have at most.
inline unsigned threads_for(std::int64_t columns) {
  const std::int64_t warps = ceil_div(columns, kVector * 32);
  return static_cast<unsigned>(32 * (warps < 1 ? 1 : warps > 32 ? 32 : warps));
}

}  // namespace rlcpp::ops::cuda
