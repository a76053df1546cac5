// Python's view of text: code points, white space, letter case.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rlcpp::tokenizer::jinja {

// str.isspace() of one character; also \s of Python's re.
bool is_space(char32_t c);

// First position >= pos that is no white space.
std::size_t skip_spaces(std::string_view text, std::size_t pos);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
// str.strip(characters): both given sides, of white space when `characters` is nullptr.
std::string_view strip(std::string_view text, const std::string* characters, bool left, bool right);

std::u32string to_code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);

std::string upper(std::string_view text);        // str.upper()
std::string lower(std::string_view text);        // str.lower(), final sigma included
std::string capitalized(std::string_view text);  // str.capitalize()
std::string title_case(std::string_view text);   // str.title()

bool is_upper(std::string_view text);  // str.isupper()
bool is_lower(std::string_view text);  // str.islower()
bool is_alpha(char32_t c);             // str.isalpha() of one character
bool is_decimal(char32_t c);           // str.isdecimal() of one character
// 0 to 9 for a decimal digit of any script; -1 else.
int decimal_value(char32_t c);

}  // namespace rlcpp::tokenizer::jinja
