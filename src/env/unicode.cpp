#include "env/unicode.h"

#include <algorithm>
#include <cstddef>

#include "base/utf8.h"

namespace rlcpp::env {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t value) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value)));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const utf8::Codepoint one = utf8::decode(text, at);
    out.push_back(one.valid ? one.value : kReplacement);
    at += one.length;
  }
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const utf8::Codepoint one = utf8::decode(text, 0);
    if (!one.valid || !is_space(one.value)) break;
    text.remove_prefix(one.length);
  }
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    const std::size_t lowest = text.size() > 4 ? text.size() - 4 : 0;
    while (start > lowest && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const utf8::Codepoint one = utf8::decode(text, start);
    if (!one.valid || one.length != text.size() - start || !is_space(one.value)) break;
    text.remove_suffix(one.length);
  }
  return text;
}

std::string reversed(std::string_view utf8) {
  std::u32string text = to_code_points(utf8);
  std::reverse(text.begin(), text.end());
  return to_utf8(text);
}

}  // namespace rlcpp::env
