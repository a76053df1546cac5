// Filters that take single values: default, numbers, tojson.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

Value default_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "default", arguments, {"default_value", "boolean"});
  if (value.is_undefined() || (bound.flag(1, false) && !truth(value))) return bound.get(0, "");
  return value;
}

// Digits of int("...") and float("..."): underscores between digits go; nullopt if one stands elsewhere.
std::optional<std::string> plain_digits(std::string_view raw) {
  std::string text;  // with the digits of all scripts as ASCII
  for (std::size_t pos = 0; pos < raw.size();) {
    const char32_t c = next_code_point(raw, pos);
    append_utf8(text, c < 0x80 || decimal_value(c) < 0 ? c : static_cast<char32_t>('0' + decimal_value(c)));
  }
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
      continue;
    }
    const auto alnum = [](char c) {
      return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    };
    if (i == 0 || i + 1 == text.size() || !alnum(text[i - 1]) || !alnum(text[i + 1])) return std::nullopt;
  }
  return out;
}

std::optional<std::int64_t> read_integer(Runtime& runtime, std::string_view text, std::int64_t base) {
  auto digits = plain_digits(strip(text, nullptr, true, true));
  if (!digits || digits->empty()) return std::nullopt;
  bool negative = false;
  std::string_view rest = *digits;
  if (rest[0] == '-' || rest[0] == '+') {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest.size() > 1 && rest[0] == '0') {
    const char letter = static_cast<char>(rest[1] | 0x20);
    const std::int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefix != 0 && (base == prefix || base == 0)) {
      rest.remove_prefix(2);
      base = prefix;
    }
  }
  if (base == 0) base = 10;
  if (rest.empty()) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : rest) {
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, digit, &value)) {
      runtime.fail("a number does not fit 64 bits");
    }
  }
  if (!negative && value == INT64_MIN) runtime.fail("a number does not fit 64 bits");
  return negative ? value : -value;
}

std::optional<double> read_float(std::string_view text) {
  const auto digits = plain_digits(strip(text, nullptr, true, true));
  if (!digits || digits->empty()) return std::nullopt;
  const std::string low = lower(*digits);
  const std::string bare = low[0] == '-' || low[0] == '+' ? low.substr(1) : low;
  if (bare == "inf" || bare == "infinity") return low[0] == '-' ? -INFINITY : INFINITY;
  if (bare == "nan") return NAN;
  if (low.find_first_not_of("0123456789+-.e") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(low.c_str(), &end);
  if (end != low.c_str() + low.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> truncated(double value) {
  if (std::isnan(value) || value < -9223372036854775808.0 || value >= 9223372036854775808.0)
    return std::nullopt;
  return static_cast<std::int64_t>(value);
}

Value int_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "int", arguments, {"default", "base"});
  const Value fallback = bound.get(0, 0);
  if (value.is_undefined()) runtime.fail(value.hint());
  if (value.is_integer()) return value.as_int();
  if (value.is(Kind::kFloat)) {
    if (std::isnan(value.as_float())) return fallback;
    const auto whole = truncated(value.as_float());
    if (!whole) runtime.fail("a number does not fit 64 bits");
    return *whole;
  }
  if (!value.is_string()) return fallback;
  if (const auto whole = read_integer(runtime, value.as_string(), bound.integer(1, 10))) return *whole;
  if (const auto real = read_float(value.as_string())) {
    if (const auto whole = truncated(*real)) return *whole;
  }
  return fallback;
}

Value float_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "float", arguments, {"default"});
  if (value.is_undefined()) runtime.fail(value.hint());
  if (value.is_number()) return value.as_float();
  if (value.is_string()) {
    if (const auto real = read_float(value.as_string())) return *real;
  }
  return bound.get(0, 0.0);
}

Value abs_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "abs", arguments, {});
  if (value.is_integer()) return value.as_int() < 0 ? negate(runtime, value) : Value(value.as_int());
  if (value.is(Kind::kFloat)) return std::fabs(value.as_float());
  runtime.fail(fmt::format("abs needs a number, not {}", type_name(value)));
}

// round(): printf rounds the exact binary value to even, as Python does.
double round_to(double value, int digits) {
  if (!std::isfinite(value)) return value;
  return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
}

Value round_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "round", arguments, {"precision", "method"});
  const std::int64_t precision = bound.integer(0, 0);
  const std::string method = bound.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    runtime.fail("round knows the methods common, ceil and floor");
  }
  if (precision < 0 || precision > 15)
    runtime.fail(fmt::format("round to {} digits is not supported", precision));
  if (!value.is_number()) runtime.fail(fmt::format("round needs a number, not {}", type_name(value)));
  if (method == "common") {
    if (value.is_integer()) return value.as_int();
    return round_to(value.as_float(), static_cast<int>(precision));
  }
  double scale = 1;
  for (std::int64_t i = 0; i < precision; ++i) scale *= 10;
  const double scaled = value.as_float() * scale;
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

// HF's own tojson: json.dumps with ensure_ascii off, and no HTML escapes (transformers,
// chat_template_utils.py).
Value tojson_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  const Value indent = bound.get(1, Value());
  if (!indent.is_none()) {
    style.lines = true;
    style.item_separator = ",";
    if (indent.is_string()) {
      style.indent = indent.as_string();
    } else {
      const std::int64_t width = std::max<std::int64_t>(bound.integer(1, 0), 0);
      runtime.spend_bytes(static_cast<std::size_t>(width));
      style.indent.assign(static_cast<std::size_t>(width), ' ');
    }
  }
  const Value separators = bound.get(2, Value());
  if (!separators.is_none()) {
    const Values pair = iterate(runtime, separators);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      runtime.fail("the separators of tojson must be two strings");
    }
    style.item_separator = pair[0].as_string();
    style.key_separator = pair[1].as_string();
  }
  return json_text(runtime, value, style);
}

Value attr_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "attr", arguments, {"name"}, 1);
  const std::string name = bound.text(0, "");
  if (value.is(Kind::kDict)) {  // attributes alone: an item of that name does not count
    auto bare = std::make_shared<Dict>();
    return attribute(runtime, Value(bare), name);
  }
  return attribute(runtime, value, name);
}

}  // namespace

Filter find_value_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> filters = {
      {"default", default_filter}, {"d", default_filter}, {"int", int_filter},
      {"float", float_filter},     {"abs", abs_filter},   {"round", round_filter},
      {"tojson", tojson_filter},   {"attr", attr_filter}};
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace rlcpp::tokenizer::jinja
