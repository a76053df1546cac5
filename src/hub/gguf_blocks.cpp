#include "hub/gguf_blocks.h"

#include <array>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "tensor/dtype.h"

namespace rlcpp::hub {
namespace {

constexpr std::array kGgufTypes = {GgufTypeInfo{GgufType::kF32, "F32", 1, 4},
                                   GgufTypeInfo{GgufType::kF16, "F16", 1, 2},
                                   GgufTypeInfo{GgufType::kBF16, "BF16", 1, 2},
                                   GgufTypeInfo{GgufType::kQ8_0, "Q8_0", 32, 2 + 32},
                                   GgufTypeInfo{GgufType::kQ4_0, "Q4_0", 32, 2 + 16},
                                   GgufTypeInfo{GgufType::kQ4_1, "Q4_1", 32, 4 + 16},
                                   GgufTypeInfo{GgufType::kQ6_K, "Q6_K", 256, 128 + 64 + 16 + 2}};

// What ggml has besides (ggml.h, enum ggml_type).
constexpr std::array<std::pair<std::uint32_t, std::string_view>, 25> kGgmlTypes = {
    {{6, "Q5_0"},     {7, "Q5_1"},   {9, "Q8_1"},    {10, "Q2_K"},    {11, "Q3_K"},
     {12, "Q4_K"},    {13, "Q5_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"},
     {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},
     {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},
     {28, "F64"},     {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"}}};

std::uint16_t u16_at(const std::byte* from) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}
float f16_at(const std::byte* from) {
  return f16_to_f32(u16_at(from));
}
int signed_at(const std::byte* from) {
  return static_cast<std::int8_t>(*from);
}
int low_of(std::byte b) {
  return std::to_integer<int>(b & std::byte{0x0F});
}
int high_of(std::byte b) {
  return std::to_integer<int>(b >> 4);
}

void f32_block(const std::byte* from, float* to) {
  std::memcpy(to, from, sizeof *to);
}
void f16_block(const std::byte* from, float* to) {
  *to = f16_at(from);
}
void bf16_block(const std::byte* from, float* to) {
  *to = bf16_to_f32(u16_at(from));
}

// f16 d, 32 x i8 q: d q.
void q8_0_block(const std::byte* from, float* to) {
  const float d = f16_at(from);
  for (int i = 0; i < 32; ++i) to[i] = static_cast<float>(signed_at(from + 2 + i)) * d;
}

// f16 d, 16 bytes: the low halves are numbers 0 to 15, the high ones 16 to 31: d (q - 8).
void q4_0_block(const std::byte* from, float* to) {
  const float d = f16_at(from);
  for (int i = 0; i < 16; ++i) {
    to[i] = static_cast<float>(low_of(from[2 + i]) - 8) * d;
    to[16 + i] = static_cast<float>(high_of(from[2 + i]) - 8) * d;
  }
}

// f16 d, f16 m, 16 bytes as in Q4_0: d q + m.
void q4_1_block(const std::byte* from, float* to) {
  const float d = f16_at(from), m = f16_at(from + 2);
  for (int i = 0; i < 16; ++i) {
    to[i] = static_cast<float>(low_of(from[4 + i])) * d + m;
    to[16 + i] = static_cast<float>(high_of(from[4 + i])) * d + m;
  }
}

// 128 bytes of low 4 bits, 64 of high 2 bits, 16 x i8 scale, f16 d: (d scale) (q - 32). In each half of 128
// numbers the four runs of 32 take the low and then the high halves of two runs of bytes, and bits 0-1, 2-3,
// 4-5, 6-7 of one run of high bytes; a scale is for 16 numbers.
void q6_k_block(const std::byte* from, float* to) {
  const float d = f16_at(from + 208);
  for (int half = 0; half < 2; ++half) {
    const std::byte* low = from + 64 * half;
    const std::byte* high = from + 128 + 32 * half;
    const std::byte* scale = from + 192 + 8 * half;
    for (int run = 0; run < 4; ++run) {
      for (int i = 0; i < 32; ++i) {
        const std::byte two = low[32 * (run % 2) + i];
        const int four = run < 2 ? low_of(two) : high_of(two);
        const int upper = std::to_integer<int>(high[i] >> (2 * run)) & 3;
        const float scaled = d * static_cast<float>(signed_at(scale + 2 * run + i / 16));
        to[128 * half + 32 * run + i] = scaled * static_cast<float>((four | upper << 4) - 32);
      }
    }
  }
}

}  // namespace

const GgufTypeInfo* gguf_type(std::uint32_t value) {
  for (const GgufTypeInfo& info : kGgufTypes) {
    if (static_cast<std::uint32_t>(info.type) == value) return &info;
  }
  return nullptr;
}

std::string gguf_type_name(std::uint32_t value) {
  if (const GgufTypeInfo* info = gguf_type(value); info != nullptr) return std::string(info->name);
  for (const auto& [number, name] : kGgmlTypes) {
    if (number == value) return std::string(name);
  }
  return "number " + std::to_string(value);
}

std::string gguf_types_read() {
  std::string text;
  for (const GgufTypeInfo& info : kGgufTypes) text += (text.empty() ? "" : ", ") + std::string(info.name);
  return text;
}

void dequantise(GgufType type, std::span<const std::byte> from, std::span<float> to) {
  const GgufTypeInfo* info = gguf_type(static_cast<std::uint32_t>(type));
  RLCPP_CHECK(info != nullptr);
  const std::size_t blocks = to.size() / info->block_elements;
  RLCPP_CHECK(blocks * info->block_elements == to.size() && blocks * info->block_bytes == from.size());
  const auto each = [&](auto block) {
    for (std::size_t b = 0; b < blocks; ++b) {
      block(from.data() + b * info->block_bytes, to.data() + b * info->block_elements);
    }
  };
  switch (type) {
    case GgufType::kF32:
      return each(f32_block);
    case GgufType::kF16:
      return each(f16_block);
    case GgufType::kBF16:
      return each(bf16_block);
    case GgufType::kQ8_0:
      return each(q8_0_block);
    case GgufType::kQ4_0:
      return each(q4_0_block);
    case GgufType::kQ4_1:
      return each(q4_1_block);
    case GgufType::kQ6_K:
      return each(q6_k_block);
  }
}

}  // namespace rlcpp::hub
