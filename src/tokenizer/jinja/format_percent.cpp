// "%s is %d" % values, Python's printf.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <optional>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

struct Field {
  bool left = false, zero = false, plus = false, space = false;
  std::size_t width = 0;
  std::optional<int> precision;
};

class Formatter {
 public:
  Formatter(Runtime& runtime, const std::string& pattern, const Value& values)
      : runtime_(runtime), pattern_(pattern), values_(values) {}

  std::string run() {
    for (pos_ = 0; pos_ < pattern_.size(); ++pos_) {
      if (pattern_[pos_] == '%') {
        ++pos_;
        conversion();
      } else {
        out_.push_back(pattern_[pos_]);
      }
      if (out_.size() > runtime_.limits().bytes) runtime_.spend_bytes(out_.size());
    }
    const bool positional = !values_.is(Kind::kDict);
    const std::size_t given =
        values_.is_sequence(SequenceKind::kTuple) ? values_.as_sequence().items.size() : 1;
    if (positional && used_ < given) runtime_.fail("not all values of a % format are used");
    return std::move(out_);
  }

 private:
  char peek() const {
    if (pos_ >= pattern_.size()) runtime_.fail("a % format ends early");
    return pattern_[pos_];
  }

  Value next_value() {
    if (!values_.is_sequence(SequenceKind::kTuple)) {
      if (used_++ > 0) runtime_.fail("a % format has too few values");
      return values_;
    }
    if (used_ >= values_.as_sequence().items.size()) runtime_.fail("a % format has too few values");
    return values_.as_sequence().items[used_++];
  }

  std::size_t number() {
    std::size_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + static_cast<std::size_t>(peek() - '0');
      if (value > 1000) runtime_.fail("a width or precision over 1000 in a % format");
      ++pos_;
    }
    return value;
  }

  void conversion() {
    std::optional<Value> named;
    if (peek() == '(') {
      const std::size_t close = pattern_.find(')', pos_);
      if (close == std::string::npos || !values_.is(Kind::kDict))
        runtime_.fail("a % format by name needs a dict");
      const std::string name = pattern_.substr(pos_ + 1, close - pos_ - 1);
      const Value* found = values_.as_dict().find_name(name);
      if (found == nullptr) runtime_.fail(fmt::format("a % format has no value named {}", name));
      named = *found;
      pos_ = close + 1;
    }
    Field field;
    for (;; ++pos_) {
      const char c = peek();
      if (c == '-') {
        field.left = true;
      } else if (c == '0') {
        field.zero = true;
      } else if (c == '+') {
        field.plus = true;
      } else if (c == ' ') {
        field.space = true;
      } else {
        break;
      }
    }
    field.width = number();
    if (peek() == '.') {
      ++pos_;
      field.precision = static_cast<int>(number());
    }
    const char type = peek();
    if (type == '%') {
      out_.push_back('%');
      return;
    }
    put(field, type, named ? *named : next_value());
  }

  void put(const Field& field, char type, const Value& value) {
    std::string text;
    bool numeric = true;
    switch (type) {
      case 's':
      case 'r': {
        text = type == 's' ? to_text(runtime_, value) : representation(runtime_, value);
        numeric = false;
        if (field.precision) {
          std::size_t end = 0;
          for (int i = 0; i < *field.precision && end < text.size(); ++i) next_code_point(text, end);
          text.resize(end);
        }
        break;
      }
      case 'c': {
        numeric = false;
        const std::int64_t point = value.is_integer() ? value.as_int() : -1;
        if (value.is_string() && count_code_points(value.as_string()) == 1) {
          text = value.as_string();
        } else if (point >= 0 && point < 0x110000 && (point < 0xD800 || point >= 0xE000)) {
          append_utf8(text, static_cast<char32_t>(point));
        } else {
          runtime_.fail("%c in a % format needs a character");
        }
        break;
      }
      case 'd':
      case 'i':
      case 'x':
      case 'X':
      case 'o':
        text = integer(type, value, field);
        break;
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
        text = real(type, value, field);
        break;
      default:
        runtime_.fail(fmt::format("%{} in a % format is not supported", type));
    }
    if (numeric && text[0] != '-') {
      if (field.plus) {
        text.insert(0, "+");
      } else if (field.space) {
        text.insert(0, " ");
      }
    }
    const std::size_t size = count_code_points(text);
    const std::size_t room = field.width > size ? field.width - size : 0;
    if (field.left) {
      out_ += text + std::string(room, ' ');
    } else if (field.zero && numeric) {
      const std::size_t sign = text[0] == '-' || text[0] == '+' || text[0] == ' ';
      out_ += text.substr(0, sign) + std::string(room, '0') + text.substr(sign);
    } else {
      out_ += std::string(room, ' ') + text;
    }
  }

  std::string integer(char type, const Value& value, const Field& field) {
    const bool decimal = type == 'd' || type == 'i';
    if (!value.is_integer() && !(decimal && value.is(Kind::kFloat) && std::fabs(value.as_float()) < 9e18)) {
      runtime_.fail(fmt::format("%{} in a % format needs an integer, not {}", type, type_name(value)));
    }
    const std::int64_t whole =
        value.is_integer() ? value.as_int() : static_cast<std::int64_t>(value.as_float());
    const std::uint64_t size =
        whole < 0 ? 0 - static_cast<std::uint64_t>(whole) : static_cast<std::uint64_t>(whole);
    std::string digits = type == 'x'   ? fmt::format("{:x}", size)
                         : type == 'X' ? fmt::format("{:X}", size)
                         : type == 'o' ? fmt::format("{:o}", size)
                                       : std::to_string(size);
    while (field.precision && static_cast<int>(digits.size()) < *field.precision) digits.insert(0, "0");
    return whole < 0 ? "-" + digits : digits;
  }

  std::string real(char type, const Value& value, const Field& field) {
    if (!value.is_number()) {
      runtime_.fail(fmt::format("%{} in a % format needs a number, not {}", type, type_name(value)));
    }
    const char format[] = {'%', '.', '*', type, '\0'};
    char buffer[1600];  // the largest double has 309 digits before the point, and 1000 may follow it
    const int count =
        std::snprintf(buffer, sizeof buffer, format, field.precision.value_or(6), value.as_float());
    return std::string(buffer, static_cast<std::size_t>(count));
  }

  Runtime& runtime_;
  const std::string& pattern_;
  const Value& values_;
  std::string out_;
  std::size_t pos_ = 0;
  std::size_t used_ = 0;
};

}  // namespace

std::string format_percent(Runtime& runtime, const std::string& pattern, const Value& value) {
  runtime.spend_bytes(pattern.size());
  return Formatter(runtime, pattern, value).run();
}

}  // namespace rlcpp::tokenizer::jinja
