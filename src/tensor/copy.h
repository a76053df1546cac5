// Moving values between the host and wherever a tensor lies. Every call returns when it is done, after all
// work that the device was given before: for starting up, tests, checkpoints and small results, not for the
// inner loop.
#pragma once

#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace rlcpp {

// `to` = `from`, byte for byte; equal type and number of elements, either may lie on a GPU.
void copy(const Tensor& to, const Tensor& from);

void fill_bytes(const Tensor& t, std::uint8_t value);

// All elements as f32 on the host; f32, bf16 and f16.
std::vector<float> to_floats(const Tensor& from);
// Values rounded to nearest into the tensor's type (f32, bf16, f16); as many as it has elements.
void from_floats(const Tensor& to, std::span<const float> values);

// The values of a tensor (f32, bf16, f16) as f32 on the host: its own memory if it is f32 on the CPU,
// otherwise a copy that store() rounds back.
class HostFloats {
 public:
  // `read`: the values that are there are wanted; false: they will all be written.
  explicit HostFloats(const Tensor& tensor, bool read = true);
  HostFloats(HostFloats&&) noexcept = default;
  HostFloats& operator=(HostFloats&&) = delete;
  std::span<float> values() { return values_; }
  // After writing: brings the values to the tensor.
  void store() const;

 private:
  Tensor tensor_;
  std::vector<float> copy_;
  std::span<float> values_;
};

// The host memory of `values` seen as a tensor [size] on the CPU.
template <class T>
Tensor host_view(std::span<T> values, DType type) {
  return Tensor(const_cast<std::remove_const_t<T>*>(values.data()), type,
                {static_cast<std::int64_t>(values.size())});
}

}  // namespace rlcpp
