// Reading UTF-8 that may be broken: the text of models, files and command lines.
#pragma once

#include <cstddef>
#include <string_view>

namespace rlcpp::utf8 {

struct Codepoint {
  char32_t value = 0;      // meaningless if !valid
  std::size_t length = 1;  // bytes; 1 for a byte that starts nothing valid
  bool valid = false;
};

// The code point at `offset` (< text.size()). Overlong forms, surrogates and values above U+10FFFF are not
// valid.
Codepoint decode(std::string_view text, std::size_t offset);

bool is_valid(std::string_view text);

}  // namespace rlcpp::utf8
