// UTF-8 as Rust's String::from_utf8_lossy and Python's errors="replace" read it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rlcpp::tokenizer {

inline constexpr char32_t kReplacement = 0xFFFD;

// Reads one code point at `pos` and moves past it. An ill-formed sequence reads as U+FFFD and moves past its
// maximal well-formed prefix, at least one byte (Unicode 15, section 3.9, "U+FFFD substitution of maximal
// subparts"). `well_formed`, when given, tells the two apart. Needs pos < text.size().
char32_t next_code_point(std::string_view text, std::size_t& pos, bool* well_formed = nullptr);

void append_utf8(std::string& out, char32_t code_point);

bool is_valid_utf8(std::string_view text);

// `text` itself when it is valid; else with every ill-formed sequence replaced by U+FFFD.
std::string lossy_utf8(std::string_view text);

// Number of code points of valid UTF-8.
std::size_t count_code_points(std::string_view text);

}  // namespace rlcpp::tokenizer
