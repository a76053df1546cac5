#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

constexpr bool is_printable_latin1(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

// The 68 bytes that are not printable get U+0100 ... U+0143.
constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    table[static_cast<std::size_t>(byte)] = is_printable_latin1(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return table;
}
constexpr std::array<char32_t, 256> kCharacters = make_characters();

constexpr std::array<std::int16_t, 0x144> make_bytes() {
  std::array<std::int16_t, 0x144> table{};
  for (auto& entry : table) entry = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) table[kCharacters[byte]] = static_cast<std::int16_t>(byte);
  return table;
}
constexpr std::array<std::int16_t, 0x144> kBytes = make_bytes();

}  // namespace

char32_t character_of_byte(std::uint8_t byte) {
  return kCharacters[byte];
}

std::string to_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, kCharacters[static_cast<std::uint8_t>(c)]);
  return out;
}

std::optional<std::string> from_alphabet(std::string_view token) {
  std::string out;
  for (std::size_t pos = 0; pos < token.size();) {
    const char32_t c = next_code_point(token, pos);
    if (c >= kBytes.size() || kBytes[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kBytes[c]));
  }
  return out;
}

}  // namespace rlcpp::tokenizer
