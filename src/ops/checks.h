// What the entry of every operation asks: the device has this operation, and tensors have the declared type
// and shape.
#pragma once

#include <initializer_list>

#include "ops/context.h"

namespace rlcpp::ops {

// True if t is of `type` with this shape.
inline bool has_shape(const Tensor& t, DType type, std::initializer_list<std::int64_t> shape) {
  if (t.empty() || t.dtype() != type || t.rank() != static_cast<int>(shape.size())) return false;
  int axis = 0;
  for (const std::int64_t size : shape) {
    if (t.dim(axis++) != size) return false;
  }
  return true;
}
inline bool is_f32(const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return has_shape(t, DType::kF32, shape);
}
inline bool is_i32(const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return has_shape(t, DType::kI32, shape);
}
// Of the type in which this device computes.
inline bool is_compute(const Context& ctx, const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return has_shape(t, ctx.compute_type(), shape);
}
inline bool empty_or_compute(const Context& ctx, const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return t.empty() || is_compute(ctx, t, shape);
}
inline bool empty_or_f32(const Tensor& t, std::initializer_list<std::int64_t> shape) {
  return t.empty() || is_f32(t, shape);
}

}  // namespace rlcpp::ops
