// Host vectors given to an operation on whichever device it runs. On the CPU the operation works in the
// vector's own memory. On a GPU a mirror holds a copy in the device's type while the call runs, and brings
// the values back at the end of the full expression:
//   ops::rmsnorm_forward(ctx, on(ctx, y, {m, h}), f32(ctx, rstd, {m}), on(ctx, x, {m, h}), ...);
// Two arguments that share memory are one mirror with a name, which must end before its vector is read.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "ops/context.h"

namespace rlcpp::test {

using Floats = std::vector<float>;
using Ints = std::vector<std::int32_t>;
using Bytes = std::vector<std::uint8_t>;

inline Tensor view(Floats& values, std::initializer_list<std::int64_t> shape) {
  return Tensor(values.data(), DType::kF32, shape);
}
inline Tensor view(Ints& values, std::initializer_list<std::int64_t> shape) {
  return Tensor(values.data(), DType::kI32, shape);
}

inline Tensor view(Bytes& values, std::initializer_list<std::int64_t> shape) {
  return Tensor(values.data(), DType::kU8, shape);
}

inline float round_to_bf16(float value) {
  return bf16_to_f32(f32_to_bf16(value));
}

// The values in the type that `ctx` computes in.
inline Floats rounded(const ops::Context& ctx, Floats values) {
  if (ctx.compute_type() == DType::kBF16) {
    for (float& value : values) value = round_to_bf16(value);
  }
  return values;
}

class Mirror {
 public:
  Mirror() = default;  // an empty tensor
  // `type` is that of the tensor on a GPU: f32 or bf16 for floats.
  Mirror(const ops::Context& ctx, Floats& host, DType type, std::initializer_list<std::int64_t> shape)
      : Mirror(ctx, view(host, shape), host.size(), type) {}
  Mirror(const ops::Context& ctx, Ints& host, std::initializer_list<std::int64_t> shape)
      : Mirror(ctx, view(host, shape), host.size(), DType::kI32) {}
  Mirror(const ops::Context& ctx, Bytes& host, std::initializer_list<std::int64_t> shape)
      : Mirror(ctx, view(host, shape), host.size(), DType::kU8) {}
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  ~Mirror() {
    if (memory_ == nullptr) return;
    try {
      bring_back();
    } catch (const Error& error) {
      ADD_FAILURE() << error.what() << ": " << error.because();
    }
    cuda::release(memory_, tensor_.device());
  }

  operator Tensor() const { return tensor_; }  // NOLINT: reads as a tensor in calls
  const Tensor& tensor() const { return tensor_; }

 private:
  static constexpr std::size_t kGuard = 256;  // bytes before and after; keeps the alignment of an arena

  Mirror(const ops::Context& ctx, const Tensor& host, std::size_t host_size, DType type) : host_(host) {
    RLCPP_CHECK(static_cast<std::size_t>(host.size()) <= host_size);
    if (!ctx.on_gpu()) {
      tensor_ = host;
      return;
    }
    const std::size_t bytes = static_cast<std::size_t>(host.size()) * size_of(type);
    memory_ = cuda::allocate(bytes + 2 * kGuard, ctx.device);
    tensor_ = Tensor(static_cast<std::byte*>(memory_) + kGuard, type, host.shape(), ctx.device);
    // A NaN in bf16 and f32, and negative as an index: reading it shows. Buffers differ in it, so that
    // copying one buffer's guard over another's shows as well.
    static std::uint8_t next = 0;
    guard_ = static_cast<std::uint8_t>(0x81 + next++ % 0x7F);
    std::vector<std::uint8_t> image(bytes + 2 * kGuard);
    for (std::size_t i = 0; i < kGuard; ++i) {
      image[i] = guard_byte(i);
      image[kGuard + bytes + i] = guard_byte(i);
    }
    if (type == DType::kBF16) {
      bool exact = true;
      for (std::int64_t i = 0; i < host.size(); ++i) {
        const float value = host.f32()[i];
        const std::uint16_t half = f32_to_bf16(value);
        exact = exact && (std::isnan(value) || bf16_to_f32(half) == value);
        std::memcpy(&image[kGuard + 2 * static_cast<std::size_t>(i)], &half, sizeof half);
      }
      EXPECT_TRUE(exact) << "the reference would see other values than the GPU: round the input first";
    } else if (bytes > 0) {
      std::memcpy(&image[kGuard], host.raw(), bytes);
    }
    cuda::copy(memory_, ctx.device, image.data(), Device{}, image.size());
  }

  std::uint8_t guard_byte(std::size_t i) const { return i % 2 == 0 ? guard_ : std::uint8_t{0xFF}; }

  void bring_back() {
    const std::size_t bytes = tensor_.bytes();
    std::vector<std::uint8_t> image(bytes + 2 * kGuard);
    cuda::copy(image.data(), Device{}, memory_, tensor_.device(), image.size());
    for (std::size_t i = 0; i < kGuard; ++i) {
      const bool before = image[i] == guard_byte(i);
      const bool after = image[kGuard + bytes + i] == guard_byte(i);
      if (before && after) continue;
      ADD_FAILURE() << "something wrote " << (before ? "behind the end" : "before the start") << " of "
                    << tensor_.shape_text() << ", at byte " << i << " of the guard";
      break;
    }
    if (tensor_.dtype() == DType::kBF16) {
      for (std::int64_t i = 0; i < tensor_.size(); ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, &image[kGuard + 2 * static_cast<std::size_t>(i)], sizeof half);
        host_.f32()[i] = bf16_to_f32(half);
      }
    } else if (bytes > 0) {
      std::memcpy(host_.raw(), &image[kGuard], bytes);
    }
  }

  Tensor host_;
  Tensor tensor_;
  void* memory_ = nullptr;
  std::uint8_t guard_ = 0;
};

// In the type that the device computes in.
inline Mirror on(const ops::Context& ctx, Floats& values, std::initializer_list<std::int64_t> shape) {
  return Mirror(ctx, values, ctx.compute_type(), shape);
}
// f32 and i32 on every device.
inline Mirror f32(const ops::Context& ctx, Floats& values, std::initializer_list<std::int64_t> shape) {
  return Mirror(ctx, values, DType::kF32, shape);
}
inline Mirror u8(const ops::Context& ctx, Bytes& values, std::initializer_list<std::int64_t> shape) {
  return Mirror(ctx, values, shape);
}
inline Mirror i32(const ops::Context& ctx, Ints& values, std::initializer_list<std::int64_t> shape) {
  return Mirror(ctx, values, shape);
}

// The same for arguments that may be left out: null gives an empty tensor.
inline Mirror on(const ops::Context& ctx, Floats* values, std::initializer_list<std::int64_t> shape) {
  return values != nullptr ? on(ctx, *values, shape) : Mirror();
}
inline Mirror f32(const ops::Context& ctx, Floats* values, std::initializer_list<std::int64_t> shape) {
  return values != nullptr ? f32(ctx, *values, shape) : Mirror();
}

}  // namespace rlcpp::test
