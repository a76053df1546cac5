// Filters that take text.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

Value upper_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "upper", arguments, {});
  return upper(to_text(runtime, value));
}

Value lower_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "lower", arguments, {});
  return lower(to_text(runtime, value));
}

Value capitalize_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "capitalize", arguments, {});
  return capitalized(to_text(runtime, value));
}

// Words begin behind "-", white space and opening brackets; unlike str.title() an apostrophe begins none.
Value title_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "title", arguments, {});
  const std::u32string text = to_code_points(to_text(runtime, value));
  const auto separates = [](char32_t c) {
    return is_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    if (separates(text[i])) {
      while (end < text.size() && separates(text[end])) ++end;
      out += to_utf8(std::u32string_view(text).substr(i, end - i));
    } else {
      while (end < text.size() && !separates(text[end])) ++end;
      out += upper(to_utf8(std::u32string_view(text).substr(i, 1)));
      out += lower(to_utf8(std::u32string_view(text).substr(i + 1, end - i - 1)));
    }
    i = end;
  }
  return out;
}

Value trim_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "trim", arguments, {"chars"});
  const std::string text = to_text(runtime, value);
  runtime.spend_bytes(text.size());
  if (!bound.has(0) || bound.at(0).is_none()) return strip(text, nullptr, true, true);
  const std::string characters = bound.text(0, "");
  return strip(text, &characters, true, true);
}

// A method of strings under the filter's name, on str(value).
Value by_method(Runtime& runtime, const Value& value, const char* method, Arguments& arguments) {
  return call(runtime, string_method(runtime, to_text(runtime, value), method), arguments);
}

Value replace_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "replace", arguments, {"old", "new", "count"}, 2);
  Arguments inner;
  inner.positional = {to_text(runtime, bound.at(0)), to_text(runtime, bound.at(1))};
  if (bound.has(2) && !bound.at(2).is_none()) inner.positional.push_back(bound.at(2));
  return by_method(runtime, value, "replace", inner);
}

Value center_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "center", arguments, {"width"});
  Arguments inner;
  inner.positional = {bound.integer(0, 80)};
  return by_method(runtime, value, "center", inner);
}

Value indent_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "indent", arguments, {"width", "first", "blank"});
  if (!value.is_string()) runtime.fail(fmt::format("indent needs a string, not {}", type_name(value)));
  std::string indention;
  if (bound.has(0) && bound.at(0).is_string()) {
    indention = bound.at(0).as_string();
  } else {
    const std::int64_t width = std::max<std::int64_t>(bound.integer(0, 4), 0);
    runtime.spend_bytes(static_cast<std::size_t>(width));
    indention.assign(static_cast<std::size_t>(width), ' ');
  }
  Arguments none;
  const Value lines = call(runtime, string_method(runtime, value.as_string() + "\n", "splitlines"), none);
  std::string out;
  bool first = true;
  for (const Value& line : lines.as_sequence().items) {
    const std::size_t before = out.size();
    if (!first) out += "\n";
    const bool indented = first ? bound.flag(1, false) : bound.flag(2, false) || !line.as_string().empty();
    if (indented) out += indention;
    out += line.as_string();
    first = false;
    runtime.spend_growth(before, out.size());
  }
  return out;
}

Value truncate_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::int64_t limit = bound.integer(0, 255);
  const std::u32string end = to_code_points(bound.text(2, "..."));
  const std::int64_t leeway = bound.has(3) && !bound.at(3).is_none() ? bound.integer(3, 5) : 5;
  if (value.is_undefined()) return value;
  if (!value.is_string()) runtime.fail(fmt::format("truncate needs a string, not {}", type_name(value)));
  const std::u32string text = to_code_points(value.as_string());
  const auto end_size = static_cast<std::int64_t>(end.size());
  if (limit < end_size || leeway < 0)
    runtime.fail("truncate needs a length of at least its end mark, and no negative leeway");
  if (static_cast<std::int64_t>(text.size()) <= limit + leeway) return value;
  std::u32string kept = text.substr(0, static_cast<std::size_t>(limit - end_size));
  const std::size_t space = bound.flag(1, false) ? std::u32string::npos : kept.rfind(U' ');
  if (space != std::u32string::npos) kept.resize(space);
  return to_utf8(kept + end);
}

Value wordcount_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "wordcount", arguments, {});
  std::int64_t words = 0;
  bool inside = false;
  for (const char32_t c : to_code_points(to_text(runtime, value))) {
    const bool word = is_alpha(c) || is_decimal(c) || c == U'_';
    words += word && !inside;
    inside = word;
  }
  return words;
}

Value string_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "string", arguments, {});
  return to_text(runtime, value);
}

// Output is never escaped here, so text that is marked safe is text.
Value safe_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "safe", arguments, {});
  return to_text(runtime, value);
}

Value escape_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "escape", arguments, {});
  std::string out;
  for (const char c : to_text(runtime, value)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out.push_back(c);
    }
  }
  runtime.spend_bytes(out.size());
  return out;
}

Value format_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    runtime.fail("format takes arguments by position or by name, not both");
  }
  if (arguments.named.empty()) {
    return format_percent(runtime, to_text(runtime, value), Value::tuple(arguments.positional));
  }
  auto names = std::make_shared<Dict>();
  for (const auto& [name, item] : arguments.named) names->set(name, item);
  return format_percent(runtime, to_text(runtime, value), names);
}

Value join_filter(Runtime& runtime, const Value& value, Arguments& arguments) {
  const Bound bound(runtime, "join", arguments, {"d", "attribute"});
  const std::string separator = bound.has(0) ? to_text(runtime, bound.at(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : iterate(runtime, value)) {
    const std::size_t before = out.size();
    if (!first) out += separator;
    first = false;
    const bool by_attribute = bound.has(1) && !bound.at(1).is_none();
    const std::string text = to_text(runtime, by_attribute ? lookup_path(runtime, item, bound.at(1)) : item);
    out += text;
    runtime.spend_growth(before, out.size());
  }
  return out;
}

}  // namespace

Filter find_text_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> filters = {{"upper", upper_filter},
                                                             {"lower", lower_filter},
                                                             {"capitalize", capitalize_filter},
                                                             {"title", title_filter},
                                                             {"trim", trim_filter},
                                                             {"replace", replace_filter},
                                                             {"center", center_filter},
                                                             {"indent", indent_filter},
                                                             {"truncate", truncate_filter},
                                                             {"wordcount", wordcount_filter},
                                                             {"string", string_filter},
                                                             {"safe", safe_filter},
                                                             {"escape", escape_filter},
                                                             {"e", escape_filter},
                                                             {"format", format_filter},
                                                             {"join", join_filter}};
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace rlcpp::tokenizer::jinja
