#include "tensor/tensor.h"

#include <algorithm>

namespace rlcpp {

Tensor::Tensor(void* data, DType type, std::initializer_list<std::int64_t> shape, Device device)
    : Tensor(data, type, std::span<const std::int64_t>(shape.begin(), shape.size()), device) {}

Tensor::Tensor(void* data, DType type, std::span<const std::int64_t> shape, Device device)
    : data_(data), rank_(static_cast<int>(shape.size())), type_(type), device_(device) {
  RLCPP_CHECK(shape.size() <= static_cast<std::size_t>(kMaxRank));
  RLCPP_CHECK(std::all_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent >= 0; }));
  std::copy(shape.begin(), shape.end(), shape_.begin());
}

std::int64_t Tensor::size() const {
  if (rank_ == 0) return 0;
  std::int64_t product = 1;
  for (const std::int64_t extent : shape()) product *= extent;
  return product;
}

std::string Tensor::shape_text() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) text += (axis == 0 ? "" : ", ") + std::to_string(dim(axis));
  return text + "] " + std::string(name_of(type_));
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t count) const {
  RLCPP_CHECK(rank_ >= 1 && begin >= 0 && count >= 0 && begin + count <= dim(0));
  const std::int64_t row = dim(0) == 0 ? 0 : size() / dim(0);
  Tensor part = *this;
  part.data_ = static_cast<std::byte*>(data_) + static_cast<std::size_t>(begin * row) * size_of(type_);
  part.shape_[0] = count;
  return part;
}

Tensor Tensor::view(std::initializer_list<std::int64_t> shape) const {
  Tensor other(data_, type_, shape, device_);
  RLCPP_CHECK(other.size() == size());
  return other;
}

}  // namespace rlcpp
