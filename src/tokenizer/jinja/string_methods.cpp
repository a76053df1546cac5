// The methods of Python's str that templates call.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

using Method = Value (*)(Runtime&, const std::string& self, Arguments&);

template <bool kLeft, bool kRight>
Value strip_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "strip", arguments, {"chars"});
  if (!bound.has(0) || bound.at(0).is_none()) return strip(self, nullptr, kLeft, kRight);
  const std::string characters = bound.text(0, "");
  return strip(self, &characters, kLeft, kRight);
}

template <std::string (*kFunction)(std::string_view)>
Value case_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "a method", arguments, {});
  return kFunction(self);
}

// split() without a separator: at runs of white space.
Values split_at_spaces(std::string_view text, std::int64_t limit, bool from_right) {
  Values parts;
  if (from_right) {
    text = strip_right(text);
    while (!text.empty() && limit-- != 0) {
      std::size_t begin = text.size();
      while (begin > 0) {
        std::size_t start = begin - 1;
        while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
        std::size_t pos = start;
        if (is_space(next_code_point(text, pos))) break;
        begin = start;
      }
      parts.emplace_back(text.substr(begin));
      text = strip_right(text.substr(0, begin));
    }
    if (!text.empty()) parts.emplace_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  text = strip_left(text);
  while (!text.empty() && limit-- != 0) {
    std::size_t end = 0;
    while (end < text.size()) {
      std::size_t pos = end;
      if (is_space(next_code_point(text, pos))) break;
      end = pos;
    }
    parts.emplace_back(text.substr(0, end));
    text = strip_left(text.substr(end));
  }
  if (!text.empty()) parts.emplace_back(text);
  return parts;
}

Values split_at(std::string_view text, std::string_view separator, std::int64_t limit, bool from_right) {
  Values parts;
  if (from_right) {
    while (limit-- != 0) {
      const std::size_t at = text.rfind(separator);
      if (at == std::string_view::npos) break;
      parts.emplace_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    }
    parts.emplace_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  while (limit-- != 0) {
    const std::size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, at));
    text = text.substr(at + separator.size());
  }
  parts.emplace_back(text);
  return parts;
}

template <bool kFromRight>
Value split_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "split", arguments, {"sep", "maxsplit"});
  const std::int64_t limit = bound.integer(1, -1);
  Values parts;
  if (!bound.has(0) || bound.at(0).is_none()) {
    parts = split_at_spaces(self, limit, kFromRight);
  } else {
    const std::string separator = bound.text(0, "");
    if (separator.empty()) runtime.fail("split() has an empty separator");
    parts = split_at(self, separator, limit, kFromRight);
  }
  runtime.spend(static_cast<std::int64_t>(parts.size()));
  return Value::list(std::move(parts));
}

Value splitlines_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "splitlines", arguments, {"keepends"});
  const bool keep = bound.flag(0, false);
  Values lines;
  std::size_t begin = 0;
  for (std::size_t pos = 0; pos < self.size();) {
    const std::size_t end = pos;
    const char32_t c = next_code_point(self, pos);
    const bool ends =
        (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && pos < self.size() && self[pos] == '\n') ++pos;
    lines.emplace_back(self.substr(begin, (keep ? pos : end) - begin));
    begin = pos;
  }
  if (begin < self.size()) lines.emplace_back(self.substr(begin));
  runtime.spend(static_cast<std::int64_t>(lines.size()));
  return Value::list(std::move(lines));
}

// startswith and endswith take a string or a tuple of strings.
template <bool kStart>
Value affix_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const char* name = kStart ? "startswith" : "endswith";
  const Bound bound(runtime, name, arguments, {"prefix"}, 1);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) runtime.fail(fmt::format("{}() takes strings, not {}", name, type_name(affix)));
    return kStart ? self.starts_with(affix.as_string()) : self.ends_with(affix.as_string());
  };
  if (!bound.at(0).is_sequence(SequenceKind::kTuple)) {
    if (bound.at(0).is_undefined()) runtime.fail(bound.at(0).hint());
    return matches(bound.at(0));
  }
  const Values& affixes = bound.at(0).as_sequence().items;
  return std::any_of(affixes.begin(), affixes.end(), matches);
}

Value replace_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "replace", arguments, {"old", "new", "count"}, 2);
  const std::string from = bound.text(0, "");
  const std::string to = bound.text(1, "");
  std::int64_t limit = bound.integer(2, -1);
  std::string out;
  std::size_t pos = 0;
  const auto put = [&](std::string_view text) {
    out += text;
    runtime.spend_growth(out.size() - text.size(), out.size());
  };
  if (from.empty()) {  // between all characters, and at both ends
    while (limit-- != 0) {
      put(to);
      if (pos >= self.size()) return out;
      const std::size_t begin = pos;
      next_code_point(self, pos);
      put(std::string_view(self).substr(begin, pos - begin));
    }
    put(std::string_view(self).substr(pos));
    return out;
  }
  while (limit-- != 0) {
    const std::size_t at = self.find(from, pos);
    if (at == std::string::npos) break;
    put(std::string_view(self).substr(pos, at - pos));
    put(to);
    pos = at + from.size();
  }
  put(std::string_view(self).substr(pos));
  return out;
}

template <bool kFromRight, bool kMust>
Value find_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, kMust ? "index" : "find", arguments, {"sub"}, 1);
  const std::string part = bound.text(0, "");
  const std::size_t at = kFromRight ? self.rfind(part) : self.find(part);
  if (at == std::string::npos) {
    if (kMust) runtime.fail("index() is asked for a text that the string lacks");
    return -1;
  }
  return static_cast<std::int64_t>(count_code_points(std::string_view(self).substr(0, at)));
}

Value count_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "count", arguments, {"sub"}, 1);
  const std::string part = bound.text(0, "");
  if (part.empty()) return static_cast<std::int64_t>(count_code_points(self)) + 1;
  std::int64_t count = 0;
  for (std::size_t pos = 0; (pos = self.find(part, pos)) != std::string::npos; pos += part.size()) ++count;
  return count;
}

Value join_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "join", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(runtime, bound.at(0))) {
    if (!item.is_string()) runtime.fail(fmt::format("join() takes strings, not {}", type_name(item)));
    const std::size_t before = out.size();
    if (!first) out += self;
    first = false;
    out += item.as_string();
    runtime.spend_growth(before, out.size());
  }
  return out;
}

template <bool (*kFunction)(std::string_view)>
Value predicate_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "a method", arguments, {});
  return kFunction(self);
}

template <bool (*kFunction)(char32_t)>
bool all_are(std::string_view text) {
  for (std::size_t pos = 0; pos < text.size();) {
    if (!kFunction(next_code_point(text, pos))) return false;
  }
  return !text.empty();
}
// str.isdigit(): decimal digits, and those that stand in circles or superscripts (Numeric_Type=Digit).
bool is_digit(char32_t c) {
  static constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
      {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
      {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
      {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  return is_decimal(c) || std::any_of(std::begin(kRanges), std::end(kRanges),
                                      [c](auto r) { return c >= r.first && c <= r.second; });
}
bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

template <bool kPrefix>
Value remove_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, kPrefix ? "removeprefix" : "removesuffix", arguments, {"affix"}, 1);
  const std::string affix = bound.text(0, "");
  if (kPrefix) return self.starts_with(affix) ? self.substr(affix.size()) : self;
  return self.ends_with(affix) ? self.substr(0, self.size() - affix.size()) : self;
}

// ljust, rjust and center; Python's center puts the odd space as this formula does.
enum class Side { kLeft, kRight, kCenter };
template <Side kSide>
Value pad_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "padding", arguments, {"width", "fillchar"}, 1);
  const std::string fill = bound.text(1, " ");
  if (count_code_points(fill) != 1) runtime.fail("the fill character must be one character");
  const std::int64_t width = bound.integer(0, 0);
  const std::int64_t room = width - static_cast<std::int64_t>(count_code_points(self));
  if (room <= 0) return self;
  runtime.spend_bytes(static_cast<std::size_t>(std::min<std::int64_t>(room, 1 << 24)) * fill.size() +
                      self.size());
  const std::int64_t left = kSide == Side::kLeft    ? 0
                            : kSide == Side::kRight ? room
                                                    : room / 2 + (room & width & 1);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += self;
  for (std::int64_t i = left; i < room; ++i) out += fill;
  return out;
}

Value zfill_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "zfill", arguments, {"width"}, 1);
  const std::int64_t room = bound.integer(0, 0) - static_cast<std::int64_t>(count_code_points(self));
  if (room <= 0) return self;
  runtime.spend_bytes(static_cast<std::size_t>(std::min<std::int64_t>(room, 1 << 24)) + self.size());
  const std::size_t sign = !self.empty() && (self[0] == '-' || self[0] == '+');
  return self.substr(0, sign) + std::string(static_cast<std::size_t>(room), '0') + self.substr(sign);
}

template <bool kFromRight>
Value partition_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "partition", arguments, {"sep"}, 1);
  const std::string separator = bound.text(0, "");
  if (separator.empty()) runtime.fail("partition() has an empty separator");
  const std::size_t at = kFromRight ? self.rfind(separator) : self.find(separator);
  if (at == std::string::npos) return Value::tuple(kFromRight ? Values{"", "", self} : Values{self, "", ""});
  return Value::tuple({self.substr(0, at), separator, self.substr(at + separator.size())});
}

Value swapcase_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  const Bound bound(runtime, "swapcase", arguments, {});
  if (!is_ascii(self)) runtime.fail("swapcase() of other than ASCII is not supported");
  std::string out = self;
  for (char& c : out) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) c = static_cast<char>(c ^ 0x20);
  }
  return out;
}

// str.format with {}, {0} and {name}; format specifications are refused.
Value format_method(Runtime& runtime, const std::string& self, Arguments& arguments) {
  std::string out;
  std::size_t automatic = 0;
  bool numbered = false;
  for (std::size_t i = 0; i < self.size(); ++i) {
    const char c = self[i];
    if (c != '{' && c != '}') {
      out.push_back(c);
      continue;
    }
    if (i + 1 < self.size() && self[i + 1] == c) {
      out.push_back(c);
      ++i;
      continue;
    }
    const std::size_t close = self.find('}', i);
    if (c == '}' || close == std::string::npos) runtime.fail("format() meets a single brace");
    const std::string field = self.substr(i + 1, close - i - 1);
    if (field.find_first_of(":!.[{") != std::string::npos) {
      runtime.fail(fmt::format("the field {{{}}} of format() is not supported", field));
    }
    const bool number =
        !field.empty() && field.size() < 6 && field.find_first_not_of("0123456789") == std::string::npos;
    const std::size_t before = out.size();
    if (field.empty() || number) {
      numbered = numbered || number;
      if (numbered && (automatic > 0 || field.empty())) runtime.fail("format() mixes {} with {0}");
      const std::size_t index = number ? static_cast<std::size_t>(std::stoul(field)) : automatic++;
      if (index >= arguments.positional.size()) runtime.fail("format() has too few arguments");
      out += to_text(runtime, arguments.positional[index]);
    } else {
      const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                      [&](const auto& entry) { return entry.first == field; });
      if (found == arguments.named.end())
        runtime.fail(fmt::format("format() has no argument named {}", field));
      out += to_text(runtime, found->second);
    }
    runtime.spend_growth(before, out.size());
    i = close;
  }
  return out;
}

Value refused_method(Runtime& runtime, const std::string&, Arguments&) {
  runtime.fail("this method of strings is not supported");
}

}  // namespace

Value string_method(Runtime& runtime, const std::string& self, const std::string& name) {
  static const std::map<std::string_view, Method> methods = {
      {"strip", strip_method<true, true>},
      {"lstrip", strip_method<true, false>},
      {"rstrip", strip_method<false, true>},
      {"upper", case_method<upper>},
      {"lower", case_method<lower>},
      {"capitalize", case_method<capitalized>},
      {"title", case_method<title_case>},
      {"swapcase", swapcase_method},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", splitlines_method},
      {"startswith", affix_method<true>},
      {"endswith", affix_method<false>},
      {"replace", replace_method},
      {"find", find_method<false, false>},
      {"rfind", find_method<true, false>},
      {"index", find_method<false, true>},
      {"rindex", find_method<true, true>},
      {"count", count_method},
      {"join", join_method},
      {"isdigit", predicate_method<all_are<is_digit>>},
      {"isdecimal", predicate_method<all_are<is_decimal>>},
      {"isalpha", predicate_method<all_are<is_alpha>>},
      {"isspace", predicate_method<all_are<is_space>>},
      {"isupper", predicate_method<is_upper>},
      {"islower", predicate_method<is_lower>},
      {"isascii", predicate_method<is_ascii>},
      {"removeprefix", remove_method<true>},
      {"removesuffix", remove_method<false>},
      {"ljust", pad_method<Side::kLeft>},
      {"rjust", pad_method<Side::kRight>},
      {"center", pad_method<Side::kCenter>},
      {"zfill", zfill_method},
      {"partition", partition_method<false>},
      {"rpartition", partition_method<true>},
      {"format", format_method},
      {"casefold", refused_method},
      {"encode", refused_method},
      {"expandtabs", refused_method},
      {"format_map", refused_method},
      {"isalnum", refused_method},
      {"isidentifier", refused_method},
      {"isnumeric", refused_method},
      {"isprintable", refused_method},
      {"istitle", refused_method},
      {"maketrans", refused_method},
      {"translate", refused_method}};
  const auto found = methods.find(name);
  if (found == methods.end()) return Value();
  if (found->second == refused_method) {
    runtime.fail(fmt::format("the method {} of strings is not supported", name));
  }
  runtime.spend_bytes(self.size());
  return make_callable(name, [self, method = found->second](Runtime& inner, Arguments& arguments) {
    Value result = method(inner, self, arguments);
    if (result.is_string()) inner.spend_bytes(result.as_string().size());
    return result;
  });
}

}  // namespace rlcpp::tokenizer::jinja
