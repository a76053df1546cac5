#include "tensor/copy.h"

#include <cstring>

namespace rlcpp {

void copy(const Tensor& to, const Tensor& from) {
  RLCPP_CHECK(to.dtype() == from.dtype() && to.size() == from.size());
  if (to.size() == 0) return;
  if (to.device().kind == DeviceKind::kCpu && from.device().kind == DeviceKind::kCpu) {
    std::memcpy(to.raw(), from.raw(), to.bytes());
  } else {
    cuda::copy(to.raw(), to.device(), from.raw(), from.device(), to.bytes());
  }
}

void fill_bytes(const Tensor& t, std::uint8_t value) {
  if (t.size() == 0) return;
  if (t.device().kind == DeviceKind::kCpu) {
    std::memset(t.raw(), value, t.bytes());
  } else {
    cuda::fill(t.raw(), t.device(), value, t.bytes());
  }
}

HostFloats::HostFloats(const Tensor& tensor, bool read) : tensor_(tensor) {
  if (tensor.dtype() == DType::kF32 && tensor.device().kind == DeviceKind::kCpu) {
    values_ = tensor.f32_span();
    return;
  }
  copy_ = read ? to_floats(tensor) : std::vector<float>(static_cast<std::size_t>(tensor.size()));
  values_ = copy_;
}

void HostFloats::store() const {
  if (!copy_.empty()) from_floats(tensor_, copy_);
}

std::vector<float> to_floats(const Tensor& from) {
  std::vector<float> out(static_cast<std::size_t>(from.size()));
  if (from.dtype() == DType::kF32) {
    copy(host_view(std::span(out), DType::kF32), from);
    return out;
  }
  RLCPP_CHECK(from.dtype() == DType::kBF16 || from.dtype() == DType::kF16);
  std::vector<std::uint16_t> half(out.size());
  copy(host_view(std::span(half), from.dtype()), from);
  const auto convert = from.dtype() == DType::kBF16 ? bf16_to_f32 : f16_to_f32;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = convert(half[i]);
  return out;
}

void from_floats(const Tensor& to, std::span<const float> values) {
  RLCPP_CHECK(static_cast<std::size_t>(to.size()) == values.size());
  if (to.dtype() == DType::kF32) return copy(to, host_view(values, DType::kF32));
  RLCPP_CHECK(to.dtype() == DType::kBF16 || to.dtype() == DType::kF16);
  std::vector<std::uint16_t> half(values.size());
  const auto convert = to.dtype() == DType::kBF16 ? f32_to_bf16 : f32_to_f16;
  for (std::size_t i = 0; i < half.size(); ++i) half[i] = convert(values[i]);
  copy(to, host_view(std::span(half), to.dtype()));
}

}  // namespace rlcpp
