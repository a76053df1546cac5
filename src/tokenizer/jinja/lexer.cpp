#include "tokenizer/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) {
  return is_name_start(c) || is_digit(c);
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) text_and_tag();
    push(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw bad_input(fmt::format("chat template line {}: {}", line_, message));
  }
  bool at(std::string_view text) const { return std::string_view(source_).substr(pos_).starts_with(text); }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  // Moves to `end`, counting lines.
  void advance_to(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(pos_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    pos_ = end;
  }
  std::size_t behind_spaces(std::size_t pos) const { return skip_spaces(source_, pos); }

  // Emits source[pos_, tag) as text; what stands before the tag is shaped by the tag's sign.
  void emit_text(std::size_t tag, char sign, bool is_output) {
    std::string_view text = std::string_view(source_).substr(pos_, tag - pos_);
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' &&
               !is_output) {  // lstrip_blocks: white space between the line's start and the tag goes
      const std::size_t newline = text.rfind('\n');
      const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      if ((newline != std::string_view::npos || line_starting_) && skip_spaces(text, start) == text.size()) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) push(TokenKind::kText, std::string(text));
    advance_to(tag);
  }

  static char sign_at(std::string_view source, std::size_t pos) {
    return pos < source.size() && (source[pos] == '-' || source[pos] == '+') ? source[pos] : '\0';
  }

  void text_and_tag() {
    std::size_t tag = pos_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        push(TokenKind::kText, source_.substr(pos_));
        advance_to(source_.size());
        return;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    const char type = source_[tag + 1];
    const char sign = sign_at(source_, tag + 2);
    emit_text(tag, sign, type == '{');
    const std::size_t inside = tag + 2 + (sign != '\0');
    if (type == '#') {
      comment(inside);
    } else if (type == '%' && raw(inside)) {
      return;
    } else {
      push(type == '%' ? TokenKind::kBlockBegin : TokenKind::kOutputBegin, {});
      advance_to(inside);
      line_starting_ = false;
      expression(type == '%');
    }
  }

  // Ends a block tag or comment at `pos` (on the sign or the closing characters): returns the position behind
  // it, or npos. "-" takes the white space behind it, "+" nothing; without a sign trim_blocks takes one line
  // feed.
  std::size_t block_end(std::size_t pos, std::string_view close) const {
    const std::string_view rest = std::string_view(source_).substr(std::min(pos, source_.size()));
    if (rest.starts_with(close)) {
      const std::size_t end = pos + close.size();
      return end < source_.size() && source_[end] == '\n' ? end + 1 : end;
    }
    if (rest.size() > 1 && rest.substr(1).starts_with(close)) {
      if (rest[0] == '-') return behind_spaces(pos + 1 + close.size());
      if (rest[0] == '+') return pos + 1 + close.size();
    }
    return std::string::npos;
  }

  void finish(std::size_t end) {
    advance_to(end);
    line_starting_ = end > 0 && source_[end - 1] == '\n';
  }

  void comment(std::size_t inside) {
    for (std::size_t pos = inside; pos < source_.size(); ++pos) {
      const std::size_t end = block_end(pos, "#}");
      if (end != std::string::npos) {
        finish(end);
        return;
      }
    }
    fail("a comment {# is not closed");
  }

  // {% raw %} ... {% endraw %}. Returns false if this block is none.
  bool raw(std::size_t inside) {
    std::size_t pos = behind_spaces(inside);
    if (source_.compare(pos, 3, "raw") != 0) return false;
    pos = behind_spaces(pos + 3);
    std::size_t body;
    if (source_.compare(pos, 2, "%}") == 0) {
      body = pos + 2;
    } else if (source_.compare(pos, 3, "-%}") == 0) {
      body = behind_spaces(pos + 3);
    } else {
      return false;
    }
    finish(body);
    for (std::size_t tag = source_.find("{%", body); tag != std::string::npos;
         tag = source_.find("{%", tag + 2)) {
      const char sign = sign_at(source_, tag + 2);
      std::size_t word = behind_spaces(tag + 2 + (sign != '\0'));
      if (source_.compare(word, 6, "endraw") != 0) continue;
      const std::size_t end = block_end(behind_spaces(word + 6), "%}");
      if (end == std::string::npos) continue;
      emit_text(tag, sign, false);
      finish(end);
      return true;
    }
    fail("{% raw %} is not closed");
  }

  // Tokens up to the end of the tag.
  void expression(bool block) {
    std::string open;  // brackets that wait for their partner; inside them }} and %} end nothing
    while (pos_ < source_.size()) {
      advance_to(behind_spaces(pos_));
      if (pos_ >= source_.size()) break;
      if (open.empty() && block) {
        const std::size_t end = block_end(pos_, "%}");
        if (end != std::string::npos) {
          push(TokenKind::kBlockEnd, {});
          finish(end);
          return;
        }
      } else if (open.empty()) {
        if (at("}}") || at("-}}")) {
          push(TokenKind::kOutputEnd, {});
          finish(at("}}") ? pos_ + 2 : behind_spaces(pos_ + 3));
          return;
        }
      }
      const char c = source_[pos_];
      if (is_digit(c)) {
        number();
      } else if (is_name_start(c)) {
        const std::size_t begin = pos_;
        std::size_t end = pos_;
        while (end < source_.size() && is_name(source_[end])) ++end;
        push(TokenKind::kName, source_.substr(begin, end - begin));
        pos_ = end;
      } else if (c == '"' || c == '\'') {
        string();
      } else {
        oper(open);
      }
    }
    fail(block ? "a block {% is not closed" : "an output {{ is not closed");
  }

  std::size_t digits(std::size_t pos, std::string_view allowed) const {
    while (pos < source_.size()) {
      if (allowed.find(source_[pos]) != std::string_view::npos) {
        ++pos;
      } else if (source_[pos] == '_' && pos + 1 < source_.size() &&
                 allowed.find(source_[pos + 1]) != std::string_view::npos) {
        pos += 2;
      } else {
        break;
      }
    }
    return pos;
  }

  void number() {
    constexpr std::string_view kDecimal = "0123456789";
    const auto take = [&](TokenKind kind, std::size_t end) {
      std::string text = source_.substr(pos_, end - pos_);
      std::erase(text, '_');
      push(kind, std::move(text));
      pos_ = end;
    };
    std::size_t end = digits(pos_, kDecimal);
    std::size_t real = end;
    if (real + 1 < source_.size() && source_[real] == '.' && is_digit(source_[real + 1]))
      real = digits(real + 1, kDecimal);
    if (real < source_.size() && (source_[real] == 'e' || source_[real] == 'E')) {
      std::size_t exponent = real + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
      if (exponent < source_.size() && is_digit(source_[exponent])) real = digits(exponent, kDecimal);
    }
    const bool behind_dot = pos_ > 0 && source_[pos_ - 1] == '.';
    if (real > end && !behind_dot) {
      take(TokenKind::kFloat, real);
      return;
    }
    if (source_[pos_] == '0') {
      const char base = pos_ + 1 < source_.size() ? static_cast<char>(source_[pos_ + 1] | 0x20) : '\0';
      const std::string_view allowed = base == 'x'   ? "0123456789abcdefABCDEF"
                                       : base == 'o' ? "01234567"
                                       : base == 'b' ? "01"
                                                     : "";
      const std::size_t last = allowed.empty() ? pos_ : digits(pos_ + 2, allowed);
      end = last > pos_ + 2 ? last : digits(pos_, "0");
    }
    take(TokenKind::kInteger, end);
  }

  static std::uint32_t read_digits(std::string_view text, int base) {
    std::uint32_t value = 0;
    for (const char c : text) {
      const int digit = is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
      value = value * static_cast<std::uint32_t>(base) + static_cast<std::uint32_t>(digit);
    }
    return value;
  }

  void string() {
    const char quote = source_[pos_];
    std::string text;
    std::size_t pos = pos_ + 1;
    while (true) {
      if (pos >= source_.size()) fail("a string is not closed");
      const char c = source_[pos];
      if (c == quote) break;
      if (c != '\\') {
        text.push_back(c);
        ++pos;
        continue;
      }
      if (pos + 1 >= source_.size()) fail("a string is not closed");
      pos = escape(pos + 1, text);
    }
    push(TokenKind::kString, std::move(text));
    advance_to(pos + 1);
  }

  // Python's escapes (unicode-escape); an unknown one stays as it is. `pos` is on the character behind the
  // backslash.
  std::size_t escape(std::size_t pos, std::string& text) {
    const char c = source_[pos];
    constexpr std::string_view kNames = "ntrabfv\\'\"";
    constexpr std::string_view kMeanings = "\n\t\r\a\b\f\v\\'\"";
    const std::size_t index = kNames.find(c);
    if (index != std::string_view::npos) {
      text.push_back(kMeanings[index]);
      return pos + 1;
    }
    if (c == '\n') return pos + 1;
    if (c >= '0' && c <= '7') {
      std::size_t end = pos;
      while (end < source_.size() && end < pos + 3 && source_[end] >= '0' && source_[end] <= '7') ++end;
      append_utf8(text, read_digits(std::string_view(source_).substr(pos, end - pos), 8));
      return end;
    }
    const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == 'N') fail("the escape \\N is not supported");
    if (count == 0) {
      text.push_back('\\');
      return pos;
    }
    const std::string_view digits_text = std::string_view(source_).substr(pos + 1, count);
    const auto hex = [](char d) { return is_digit(d) || ((d | 0x20) >= 'a' && (d | 0x20) <= 'f'); };
    const std::uint32_t value = read_digits(digits_text, 16);
    if (digits_text.size() != count || !std::all_of(digits_text.begin(), digits_text.end(), hex) ||
        value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      fail(fmt::format("\\{}{} is no character", c, digits_text));
    }
    append_utf8(text, value);
    return pos + 1 + count;
  }

  void oper(std::string& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!at(op)) continue;
      if (op == "(" || op == "[" || op == "{") open.push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
      if (op == ")" || op == "]" || op == "}") {
        if (open.empty() || open.back() != op[0]) fail(fmt::format("unexpected '{}'", op));
        open.pop_back();
      }
      push(TokenKind::kOperator, std::string(op));
      pos_ += op.size();
      return;
    }
    fail(fmt::format("unexpected character '{}'", source_[pos_]));
  }

  std::string source_;
  std::vector<Token> tokens_;
  std::size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(const std::string& source) {
  // Line ends become \n, and one at the very end goes (keep_trailing_newline is off).
  std::string normal;
  normal.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      normal.push_back(source[i]);
      continue;
    }
    normal.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!normal.empty() && normal.back() == '\n') normal.pop_back();
  return Lexer(lossy_utf8(normal)).run();
}

}  // namespace rlcpp::tokenizer::jinja
