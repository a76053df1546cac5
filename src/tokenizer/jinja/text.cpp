#include "tokenizer/jinja/text.h"

#include <utf8proc.h>

#include "tokenizer/jinja/case_table.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::size_t skip_spaces(std::string_view text, std::size_t pos) {
  while (pos < text.size()) {
    std::size_t next = pos;
    if (!is_space(next_code_point(text, next))) break;
    pos = next;
  }
  return pos;
}

namespace {

std::size_t start_of_last(std::string_view text) {
  std::size_t pos = text.size() - 1;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) --pos;
  return pos;
}

utf8proc_int32_t code(char32_t c) {
  return static_cast<utf8proc_int32_t>(c);
}
utf8proc_category_t category(char32_t c) {
  return utf8proc_category(code(c));
}

// Letters that have a case, and characters that word-final sigma looks through (Unicode 3.13, table 3-17).
bool is_cased(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT ||
         is_other_cased(c);
}
bool is_case_ignorable(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' ||
         c == 0xB7 || c == 0x387 || c == 0x55F || c == 0x5F4 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
         c == 0x2027 || c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E ||
         c == 0xFF1A;
}

void append_upper(std::u32string& out, char32_t c) {
  if (const char32_t* special = special_upper(c)) {
    out += special;
  } else {
    out.push_back(static_cast<char32_t>(utf8proc_toupper(code(c))));
  }
}

void append_title(std::u32string& out, char32_t c) {
  if (const char32_t* special = special_title(c)) {
    out += special;
  } else {
    out.push_back(static_cast<char32_t>(utf8proc_totitle(code(c))));
  }
}

bool is_final_sigma(const std::u32string& text, std::size_t i) {
  std::size_t before = i;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  std::size_t after = i + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::u32string& out, const std::u32string& text, std::size_t i) {
  const char32_t c = text[i];
  if (c == 0x3A3) {
    out.push_back(is_final_sigma(text, i) ? 0x3C2 : 0x3C3);
  } else if (c == 0x130) {
    out += U"i\u0307";
  } else {
    out.push_back(static_cast<char32_t>(utf8proc_tolower(code(c))));
  }
}

}  // namespace

std::string_view strip_left(std::string_view text) {
  return text.substr(skip_spaces(text, 0));
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const std::size_t last = start_of_last(text);
    std::size_t pos = last;
    if (!is_space(next_code_point(text, pos))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string_view strip(std::string_view text, const std::string* characters, bool left, bool right) {
  if (characters == nullptr) {
    if (left) text = strip_left(text);
    return right ? strip_right(text) : text;
  }
  const std::u32string set = to_code_points(*characters);
  const auto in_set = [&](char32_t c) { return set.find(c) != std::u32string::npos; };
  while (left && !text.empty()) {
    std::size_t pos = 0;
    if (!in_set(next_code_point(text, pos))) break;
    text = text.substr(pos);
  }
  while (right && !text.empty()) {
    const std::size_t last = start_of_last(text);
    std::size_t pos = last;
    if (!in_set(next_code_point(text, pos))) break;
    text = text.substr(0, last);
  }
  return text;
}

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) out.push_back(next_code_point(text, pos));
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

std::string upper(std::string_view text) {
  std::u32string out;
  for (std::size_t pos = 0; pos < text.size();) append_upper(out, next_code_point(text, pos));
  return to_utf8(out);
}

std::string lower(std::string_view text) {
  const std::u32string in = to_code_points(text);
  std::u32string out;
  for (std::size_t i = 0; i < in.size(); ++i) append_lower(out, in, i);
  return to_utf8(out);
}

std::string capitalized(std::string_view text) {
  const std::u32string in = to_code_points(text);
  std::u32string out;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i == 0) {
      append_title(out, in[0]);
    } else {
      append_lower(out, in, i);
    }
  }
  return to_utf8(out);
}

std::string title_case(std::string_view text) {
  const std::u32string in = to_code_points(text);
  std::u32string out;
  bool inside = false;  // behind a cased character
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (inside) {
      append_lower(out, in, i);
    } else {
      append_title(out, in[i]);
    }
    inside = is_cased(in[i]);
  }
  return to_utf8(out);
}

bool is_upper(std::string_view text) {
  bool cased = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    const auto kind = category(c);
    if (kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT || is_other_lowercase(c)) return false;
    cased = cased || is_cased(c);
  }
  return cased;
}

bool is_lower(std::string_view text) {
  bool cased = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    const auto kind = category(c);
    if (kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LT ||
        (is_other_cased(c) && !is_other_lowercase(c))) {
      return false;
    }
    cased = cased || is_cased(c);
  }
  return cased;
}

bool is_alpha(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

int decimal_value(char32_t c) {
  if (!is_decimal(c)) return -1;
  // Decimal digits come in runs of ten, from zero on (Unicode 4.6); the mathematical ones are five such runs.
  int before = 0;
  while (is_decimal(c - static_cast<char32_t>(before) - 1)) ++before;
  return before % 10;
}

}  // namespace rlcpp::tokenizer::jinja
