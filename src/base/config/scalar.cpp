#include "base/config/scalar.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "base/log.h"
#include "base/utf8.h"

namespace rlcpp::config {
namespace {

bool is_list(ValueType type) {
  return type == ValueType::kStringList || type == ValueType::kIntList || type == ValueType::kFloatList;
}

std::string number_text(const Field& field, double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return fmt::format("{}", static_cast<std::int64_t>(value));
  return float_text(value, field.narrow);
}

std::string range_text(const Field& field) {
  const bool low = std::isfinite(field.minimum);
  const bool high = std::isfinite(field.maximum);
  std::string text;
  if (low) {
    text = field.minimum_open ? " above " : (high && !field.maximum_open ? " from " : " of at least ");
    text += number_text(field, field.minimum);
  }
  if (high && field.maximum_open) {
    text += (low ? " and below " : " below ") + number_text(field, field.maximum);
  } else if (high) {
    text += (low ? (field.minimum_open ? " and at most " : " to ") : " of at most ") +
            number_text(field, field.maximum);
  }
  return text;
}

bool number_fits(const Field& field, double value) {
  if (std::isnan(value)) return false;
  if (field.minimum_open ? value <= field.minimum : value < field.minimum) {
    // "-inf" is the minimum of an unbounded field, and -inf itself is then allowed.
    return std::isinf(field.minimum) && !field.minimum_open;
  }
  return field.maximum_open ? value < field.maximum : value <= field.maximum;
}

bool check_int(const Field& field, std::int64_t value, Problem& problem) {
  if (field.narrow && (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max())) {
    problem.because = fmt::format("{} does not fit into 32 bits", value);
    return false;
  }
  if (number_fits(field, static_cast<double>(value))) return true;
  problem.because = fmt::format("it is {}", value);
  return false;
}

bool check_float(const Field& field, double& value, Problem& problem) {
  if (field.narrow && std::isfinite(value)) {
    if (std::abs(value) > std::numeric_limits<float>::max()) {
      problem.because = fmt::format("{} does not fit into 32 bits", value);
      return false;
    }
    value = static_cast<double>(static_cast<float>(value));
  }
  if (number_fits(field, value)) return true;
  problem.because = fmt::format("it is {}", float_text(value, field.narrow));
  return false;
}

bool check_string(const Field& field, const std::string& value, Problem& problem) {
  if (!utf8::is_valid(value)) {
    problem.because = fmt::format("\"{}\" is not valid UTF-8", printable(value));
    return false;
  }
  if (field.choices.empty()) return true;
  for (const std::string& choice : field.choices) {
    if (choice == value) return true;
  }
  problem.because = fmt::format("it is \"{}\"", printable(value));
  return false;
}

// A float that is a whole number may stand where an integer is meant: 1e6 tokens.
std::optional<std::int64_t> whole(double value) {
  if (value != std::floor(value) || std::abs(value) > 9007199254740992.0) return {};
  return static_cast<std::int64_t>(value);
}

std::optional<bool> bool_from_text(std::string_view text) {
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  return {};
}

template <class T>
std::optional<T> parse_whole_text(std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

std::string without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() &&
                         std::isdigit(static_cast<unsigned char>(text[i - 1])) &&
                         std::isdigit(static_cast<unsigned char>(text[i + 1]));
    if (text[i] != '_' || !between) out += text[i];
  }
  return out;
}

Node text_node(std::string_view text) {
  Node node;
  node.kind = Node::Kind::kString;
  node.text = text;
  return node;
}

// The text of a number or bool as the node a file would have given; a string node if it is neither.
Node typed_node(ValueType type, std::string_view text) {
  Node node = text_node(text);
  if (type == ValueType::kBool) {
    if (const auto value = bool_from_text(text)) node.kind = Node::Kind::kBool, node.boolean = *value;
    return node;
  }
  const std::string digits = without_underscores(text);
  if (const auto integer = parse_whole_text<std::int64_t>(digits)) {
    node.kind = Node::Kind::kInt, node.integer = *integer;
  } else if (const auto real = parse_whole_text<double>(digits)) {
    node.kind = Node::Kind::kFloat, node.real = *real;
  }
  return node;
}

// A number beyond the largest or below the smallest one: it reads as neither a number nor a mistake in
// writing.
bool beyond_numbers(const Field& field, std::string_view text) {
  if (field.type != ValueType::kFloat && field.type != ValueType::kInt) return false;
  const std::string digits = without_underscores(text.starts_with('+') ? text.substr(1) : text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc::result_out_of_range && end == digits.data() + digits.size();
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "[a, 'b,c']" or "a,b": items split at commas outside quotes; brackets and quotes are optional, as shells
// eat quotes.
std::vector<std::string> split_list(std::string_view text) {
  text = trim(text);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    text = trim(text.substr(1, text.size() - 2));
  std::vector<std::string> items;
  if (text.empty()) return items;
  std::string item;
  char quote = '\0';
  bool was_quoted = false;
  const auto finish = [&] {
    items.push_back(was_quoted ? item : std::string(trim(item)));
    item.clear();
    was_quoted = false;
  };
  for (const char c : text) {
    if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        item += c;
      }
    } else if ((c == '"' || c == '\'') && trim(item).empty() && !was_quoted) {
      quote = c;
      was_quoted = true;
      item.clear();
    } else if (c == ',') {
      finish();
    } else if (!was_quoted || (c != ' ' && c != '\t')) {
      item += c;
    }
  }
  finish();
  return items;
}

ValueType element_type(ValueType type) {
  if (type == ValueType::kIntList) return ValueType::kInt;
  return type == ValueType::kFloatList ? ValueType::kFloat : ValueType::kString;
}

std::optional<Scalar> list_from_nodes(const Field& field, const std::vector<Node>& items, Problem& problem) {
  Field element = field;
  element.type = element_type(field.type);
  element.optional = false;
  std::vector<std::string> strings;
  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto value = scalar_from_node(element, items[i], problem);
    if (!value.has_value()) {
      problem.because = fmt::format("of its element {}: {}", i, problem.because);
      return {};
    }
    if (element.type == ValueType::kInt) {
      integers.push_back(std::get<std::int64_t>(*value));
    } else if (element.type == ValueType::kFloat) {
      reals.push_back(std::get<double>(*value));
    } else {
      strings.push_back(std::get<std::string>(*value));
    }
  }
  if (field.type == ValueType::kIntList) return Scalar(std::move(integers));
  if (field.type == ValueType::kFloatList) return Scalar(std::move(reals));
  return Scalar(std::move(strings));
}

}  // namespace

std::optional<Scalar> scalar_from_node(const Field& field, const Node& node, Problem& problem) {
  if (node.is_none() && field.optional) return Scalar(std::monostate{});
  if (node.is_none() && is_list(field.type)) return list_from_nodes(field, {}, problem);
  switch (field.type) {
    case ValueType::kBool:
      if (node.kind == Node::Kind::kBool) return Scalar(node.boolean);
      break;
    case ValueType::kInt: {
      std::optional<std::int64_t> value;
      if (node.kind == Node::Kind::kInt) value = node.integer;
      if (node.kind == Node::Kind::kFloat) value = whole(node.real);
      if (!value.has_value()) break;
      if (!check_int(field, *value, problem)) return {};
      return Scalar(*value);
    }
    case ValueType::kFloat: {
      if (node.kind != Node::Kind::kInt && node.kind != Node::Kind::kFloat) break;
      double value = node.kind == Node::Kind::kInt ? static_cast<double>(node.integer) : node.real;
      if (!check_float(field, value, problem)) return {};
      return Scalar(value);
    }
    case ValueType::kString:
      if (node.kind != Node::Kind::kString) break;
      if (!check_string(field, node.text, problem)) return {};
      return Scalar(node.text);
    case ValueType::kStringList:
    case ValueType::kIntList:
    case ValueType::kFloatList:
      if (node.kind == Node::Kind::kArray) return list_from_nodes(field, node.items, problem);
      break;
  }
  problem.because = "it is " + kind_name(node);
  if (node.kind == Node::Kind::kString && node.place.file != nullptr &&
      typed_node(field.type, node.text).kind != Node::Kind::kString) {
    problem.help = "write the value without quotes";
  }
  return {};
}

std::optional<Scalar> scalar_from_text(const Field& field, std::string_view text, Problem& problem) {
  if (field.optional && text == "None") return Scalar(std::monostate{});
  if (is_list(field.type)) {
    if (text == "None") return list_from_nodes(field, {}, problem);
    std::vector<Node> items;
    for (const std::string& item : split_list(text)) {
      items.push_back(field.type == ValueType::kStringList ? text_node(item)
                                                           : typed_node(element_type(field.type), item));
    }
    return list_from_nodes(field, items, problem);
  }
  if (beyond_numbers(field, text)) {
    problem.because = fmt::format("{} does not fit into 64 bits", printable(text));
    return {};
  }
  return scalar_from_node(
      field, field.type == ValueType::kString ? text_node(text) : typed_node(field.type, text), problem);
}

std::string type_name(const Field& field) {
  switch (field.type) {
    case ValueType::kBool:
      return "bool";
    case ValueType::kInt:
      return "int";
    case ValueType::kFloat:
      return "float";
    case ValueType::kString:
      return "string";
    case ValueType::kStringList:
      return "list of strings";
    case ValueType::kIntList:
      return "list of ints";
    case ValueType::kFloatList:
      return "list of floats";
  }
  return "";
}

std::string allowed_text(const Field& field) {
  std::string text;
  if (!field.choices.empty()) {
    text = fmt::format("{}one of: {}", is_list(field.type) ? "a list, each " : "",
                       fmt::join(field.choices, ", "));
  } else {
    switch (field.type) {
      case ValueType::kBool:
        text = "true or false";
        break;
      case ValueType::kInt:
        text = "an integer" + range_text(field);
        break;
      case ValueType::kFloat:
        text = "a number" + range_text(field);
        break;
      case ValueType::kString:
        text = "a string";
        break;
      case ValueType::kStringList:
        text = "a list of strings";
        break;
      case ValueType::kIntList:
        text = "a list of integers" + range_text(field);
        break;
      case ValueType::kFloatList:
        text = "a list of numbers" + range_text(field);
        break;
    }
  }
  return field.optional ? text + ", or None" : text;
}

std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string toml_key(std::string_view key) {
  bool bare = !key.empty();
  for (const char c : key) {
    bare = bare && (c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                    (c >= 'A' && c <= 'Z'));
  }
  return bare ? std::string(key) : toml_string(key);
}

std::string float_text(double value, bool narrow) {
  std::string text = narrow ? fmt::format("{}", static_cast<float>(value)) : fmt::format("{}", value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string scalar_to_toml(const Field& field, const Scalar& value) {
  const auto list = [](const auto& items, const auto& write) {
    std::string text = "[";
    for (const auto& item : items) text += (text.size() > 1 ? ", " : "") + write(item);
    return text + "]";
  };
  if (const auto* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *integer);
  if (const auto* real = std::get_if<double>(&value)) return float_text(*real, field.narrow);
  if (const auto* text = std::get_if<std::string>(&value)) return toml_string(*text);
  if (const auto* strings = std::get_if<std::vector<std::string>>(&value)) {
    return list(*strings, [](const std::string& s) { return toml_string(s); });
  }
  if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&value)) {
    return list(*integers, [](std::int64_t i) { return fmt::format("{}", i); });
  }
  if (const auto* reals = std::get_if<std::vector<double>>(&value)) {
    return list(*reals, [&](double d) { return float_text(d, field.narrow); });
  }
  return "\"None\"";
}

}  // namespace rlcpp::config
