// Text as code points: Python's str is a sequence of them, and rewards must count as Python does.
#pragma once

#include <string>
#include <string_view>

namespace rlcpp::env {

// UTF-8 to code points; every byte that is not part of a valid sequence becomes U+FFFD.
std::u32string to_code_points(std::string_view utf8);
std::string to_utf8(std::u32string_view text);

// Python's str.isspace() for one code point.
bool is_space(char32_t c);

// Python's str.strip().
std::string_view strip(std::string_view utf8);

// The text with its code points in reverse order: Python's s[::-1].
std::string reversed(std::string_view utf8);

}  // namespace rlcpp::env
