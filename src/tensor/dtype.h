// Element types, and conversions between them on the host.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rlcpp {

// kF64 is for counts and losses that are summed over ranks; no operation computes in it.
enum class DType : std::uint8_t { kF32, kBF16, kF16, kI32, kI64, kU8, kF64 };

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
    case DType::kF64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}

// "f32", "bf16", ...: the names used in configuration, tables and messages.
std::string_view name_of(DType type);

// Round to nearest, ties to even; NaN stays NaN.
std::uint16_t f32_to_bf16(float value);
inline float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}
std::uint16_t f32_to_f16(float value);
float f16_to_f32(std::uint16_t bits);

}  // namespace rlcpp
