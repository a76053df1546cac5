// The number formats of GGUF tensors that are read, and how each becomes f32. Blocks are those of ggml
// (ggml-common.h); the order of roundings is that of ggml's own dequantisation, so results are the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace rlcpp::hub {

// Values as in the file.
enum class GgufType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kQ6_K = 14,
  kBF16 = 30
};

struct GgufTypeInfo {
  GgufType type;
  std::string_view name;
  std::size_t block_elements, block_bytes;
};

// nullptr if the type is not read.
const GgufTypeInfo* gguf_type(std::uint32_t value);
// "Q6_K"; of a type that ggml knows and rlcpp does not, its name there; "number 99" for others.
std::string gguf_type_name(std::uint32_t value);
// "F32, F16, ...": those that are read.
std::string gguf_types_read();

// Whole blocks: from.size() = blocks * block_bytes, to.size() = blocks * block_elements.
void dequantise(GgufType type, std::span<const std::byte> from, std::span<float> to);

}  // namespace rlcpp::hub
