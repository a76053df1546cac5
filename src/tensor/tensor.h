// A non-owning view of contiguous, row-major memory with a type and a shape. Views are values: cheap to copy,
// and they never free anything. Memory comes from an Arena (tensor/arena.h), which outlives the views into
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace rlcpp {

class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;  // empty: no memory, rank 0
  Tensor(void* data, DType type, std::initializer_list<std::int64_t> shape, Device device = {});
  Tensor(void* data, DType type, std::span<const std::int64_t> shape, Device device = {});

  bool empty() const { return data_ == nullptr; }
  DType dtype() const { return type_; }
  Device device() const { return device_; }
  int rank() const { return rank_; }
  std::int64_t dim(int axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  std::span<const std::int64_t> shape() const { return {shape_.data(), static_cast<std::size_t>(rank_)}; }
  std::int64_t size() const;  // elements
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * size_of(type_); }
  std::string shape_text() const;  // "[8192, 1024] bf16"

  void* raw() const { return data_; }

  // Typed access to host memory; checks that T has the element size and kind.
  template <class T>
  T* as() const;
  float* f32() const { return as<float>(); }
  std::int32_t* i32() const { return as<std::int32_t>(); }
  std::span<float> f32_span() const { return {f32(), static_cast<std::size_t>(size())}; }
  std::span<std::int32_t> i32_span() const { return {i32(), static_cast<std::size_t>(size())}; }

  // Rows [begin, begin + count) along axis 0.
  Tensor rows(std::int64_t begin, std::int64_t count) const;
  // The same memory with another shape of equal size.
  Tensor view(std::initializer_list<std::int64_t> shape) const;

 private:
  void* data_ = nullptr;
  std::array<std::int64_t, kMaxRank> shape_ = {};
  int rank_ = 0;
  DType type_ = DType::kF32;
  Device device_;
};

template <class T>
T* Tensor::as() const {
  using U = std::remove_const_t<T>;
  constexpr auto matches = [](DType type) {
    if constexpr (std::is_same_v<U, float>) return type == DType::kF32;
    if constexpr (std::is_same_v<U, double>) return type == DType::kF64;
    if constexpr (std::is_same_v<U, std::int32_t>) return type == DType::kI32;
    if constexpr (std::is_same_v<U, std::int64_t>) return type == DType::kI64;
    if constexpr (std::is_same_v<U, std::uint16_t>) return type == DType::kBF16 || type == DType::kF16;
    if constexpr (std::is_same_v<U, std::uint8_t>) return type == DType::kU8;
    return false;
  };
  RLCPP_CHECK(data_ == nullptr || matches(type_));
  RLCPP_CHECK(device_.kind == DeviceKind::kCpu);
  return static_cast<T*>(data_);
}

}  // namespace rlcpp
