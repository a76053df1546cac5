#include "tokenizer/jinja/value.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/jinja/loop.h"
#include "tokenizer/jinja/runtime.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {

Value Value::undefined(std::string hint) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(hint))};
  return value;
}

int depth_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kSequence:
      return value.as_sequence().depth;
    case Kind::kDict:
      return value.as_dict().depth;
    case Kind::kCallable:
      return value.as_callable().depth;
    default:
      return 0;
  }
}

int depth_around(int inside) {
  if (inside >= kMaxValueDepth) {
    throw bad_input("values given to or made by a chat template are nested too deep",
                    fmt::format("{} levels are the limit", kMaxValueDepth));
  }
  return inside + 1;
}

Value Value::sequence(SequenceKind kind, Values items) {
  int inside = 0;
  for (const Value& item : items) inside = std::max(inside, depth_of(item));
  return std::make_shared<Sequence>(Sequence{kind, std::move(items), false, depth_around(inside)});
}
Value Value::list(Values items) {
  return sequence(SequenceKind::kList, std::move(items));
}
Value Value::tuple(Values items) {
  return sequence(SequenceKind::kTuple, std::move(items));
}

bool Value::is_sequence(SequenceKind k) const {
  return is(Kind::kSequence) && as_sequence().kind == k;
}

const Value* Dict::find(const Value& key) const {
  for (const auto& [name, value] : entries) {
    if (equal(name, key)) return &value;
  }
  return nullptr;
}

const Value* Dict::find_name(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.as_string() == key) return &value;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  depth = std::max(depth, depth_around(std::max(depth_of(key), depth_of(value))));
  for (auto& [name, old] : entries) {
    if (equal(name, key)) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kLoop:
      return "loop";
    case Kind::kCallable:
      return "function";
    case Kind::kSequence:
      break;
  }
  switch (value.as_sequence().kind) {
    case SequenceKind::kList:
      return "list";
    case SequenceKind::kTuple:
      return "tuple";
    case SequenceKind::kRange:
      return "range";
    case SequenceKind::kGenerator:
      return "generator";
    case SequenceKind::kKeys:
      return "dict_keys";
    case SequenceKind::kValues:
      return "dict_values";
    case SequenceKind::kItems:
      return "dict_items";
  }
  return "object";
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.as_bool();
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_float() != 0.0;
    case Kind::kString:
      return !value.as_string().empty();
    case Kind::kSequence:
      return value.is_sequence(SequenceKind::kGenerator) || !value.as_sequence().items.empty();
    case Kind::kDict:
      return !value.as_dict().entries.empty();
    case Kind::kLoop:
    case Kind::kNamespace:
    case Kind::kCallable:
      return true;
  }
  return true;
}

namespace {

bool equal_items(const Values& left, const Values& right) {
  return left.size() == right.size() && std::equal(left.begin(), left.end(), right.begin(), equal);
}

// int == float is exact in Python, not rounded to double.
bool equal_numbers(const Value& left, const Value& right) {
  if (left.is_integer() && right.is_integer()) return left.as_int() == right.as_int();
  if (left.is(Kind::kFloat) && right.is(Kind::kFloat)) return left.as_float() == right.as_float();
  const double real = left.is(Kind::kFloat) ? left.as_float() : right.as_float();
  const std::int64_t whole = left.is(Kind::kFloat) ? right.as_int() : left.as_int();
  return real >= -9223372036854775808.0 && real < 9223372036854775808.0 && std::trunc(real) == real &&
         static_cast<std::int64_t>(real) == whole;
}

bool equal_dicts(const Dict& left, const Dict& right) {
  return left.entries.size() == right.entries.size() &&
         std::all_of(left.entries.begin(), left.entries.end(), [&](const auto& entry) {
           const Value* other = right.find(entry.first);
           return other != nullptr && equal(entry.second, *other);
         });
}

}  // namespace

bool equal(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return equal_numbers(left, right);
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return left.as_string() == right.as_string();
    case Kind::kSequence: {
      const Sequence& a = left.as_sequence();
      const Sequence& b = right.as_sequence();
      if (a.kind != b.kind) return false;
      if (a.kind == SequenceKind::kGenerator || a.kind == SequenceKind::kValues) return &a == &b;
      return equal_items(a.items, b.items);
    }
    case Kind::kDict:
      return equal_dicts(left.as_dict(), right.as_dict());
    case Kind::kNamespace:
      return &left.as_namespace() == &right.as_namespace();
    case Kind::kLoop:
      return &left.as_loop() == &right.as_loop();
    case Kind::kCallable:
      return &left.as_callable() == &right.as_callable();
    default:
      return false;
  }
}

bool hashable(const Value& value) {
  if (value.is(Kind::kDict)) return false;
  if (!value.is(Kind::kSequence)) return true;
  const Sequence& sequence = value.as_sequence();
  if (sequence.kind != SequenceKind::kTuple) return sequence.kind != SequenceKind::kList;
  return std::all_of(sequence.items.begin(), sequence.items.end(), hashable);
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back, then Python's choice of form: exponents below -4 and from 16 on.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(std::string(text.substr(e + 1)));
  std::string digits;
  const bool negative = text[0] == '-';
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  std::string out = negative ? "-" : "";
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    out += fmt::format("e{}{:02d}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    out += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else if (count <= exponent + 1) {
    out += digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  } else {
    out += digits.substr(0, static_cast<std::size_t>(exponent + 1)) + "." +
           digits.substr(static_cast<std::size_t>(exponent + 1));
  }
  return out;
}

namespace {

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string string_representation(const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out.push_back('\\');
      append_utf8(out, c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c));
    }
  }
  out.push_back(quote);
  return out;
}

std::string joined(Runtime& runtime, const Values& items) {
  std::string out;
  for (const Value& item : items) {
    const std::size_t before = out.size();
    if (!out.empty()) out += ", ";
    out += representation(runtime, item);
    runtime.spend_growth(before, out.size());
  }
  return out;
}

std::string dict_text(Runtime& runtime, const std::vector<std::pair<Value, Value>>& entries) {
  std::string out = "{";
  for (const auto& [key, value] : entries) {
    const std::size_t before = out.size();
    if (out.size() > 1) out += ", ";
    out += representation(runtime, key);
    out += ": ";
    out += representation(runtime, value);
    runtime.spend_growth(before, out.size());
  }
  return out + "}";
}

std::string sequence_text(Runtime& runtime, const Sequence& sequence) {
  const std::string inner = sequence.kind == SequenceKind::kRange ? "" : joined(runtime, sequence.items);
  switch (sequence.kind) {
    case SequenceKind::kList:
      return "[" + inner + "]";
    case SequenceKind::kTuple:
      return "(" + inner + (sequence.items.size() == 1 ? ",)" : ")");
    case SequenceKind::kKeys:
      return "dict_keys([" + inner + "])";
    case SequenceKind::kValues:
      return "dict_values([" + inner + "])";
    case SequenceKind::kItems:
      return "dict_items([" + inner + "])";
    case SequenceKind::kRange:
    case SequenceKind::kGenerator:
      break;
  }
  runtime.fail(fmt::format("a {} is printed; make a list of it first (| list)",
                           sequence.kind == SequenceKind::kRange ? "range" : "generator"));
}

}  // namespace

std::string representation(Runtime& runtime, const Value& value) {
  const Runtime::Depth depth(runtime);
  runtime.spend();
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.as_bool() ? "True" : "False";
    case Kind::kInt:
      return std::to_string(value.as_int());
    case Kind::kFloat:
      return float_text(value.as_float());
    case Kind::kString:
      runtime.spend_bytes(value.as_string().size());
      return string_representation(value.as_string());
    case Kind::kSequence:
      return sequence_text(runtime, value.as_sequence());
    case Kind::kDict:
      return dict_text(runtime, value.as_dict().entries);
    case Kind::kLoop: {
      const Loop& loop = value.as_loop();
      return fmt::format("<LoopContext {}/{}>", loop.index0 + 1, loop.items->size());
    }
    case Kind::kNamespace:
    case Kind::kCallable:
      break;
  }
  runtime.fail(fmt::format("a {} is printed", type_name(value)));
}

std::string to_text(Runtime& runtime, const Value& value) {
  if (value.is_string()) return value.as_string();
  if (value.is_undefined()) return {};
  return representation(runtime, value);
}

namespace {

Value convert(const nlohmann::ordered_json& json, int level) {
  depth_around(level);  // before going deeper
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::boolean:
      return json.get<bool>();
    case Type::number_integer:
      return json.get<std::int64_t>();
    case Type::number_unsigned:
      if (json.get<std::uint64_t>() > 0x7FFFFFFFFFFFFFFFULL) {
        throw bad_input("a number given to a chat template does not fit 64 bits", json.dump());
      }
      return json.get<std::int64_t>();
    case Type::number_float:
      return json.get<double>();
    case Type::string:
      return lossy_utf8(json.get_ref<const std::string&>());
    case Type::array: {
      Values items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(convert(item, level + 1));
      return Value::list(std::move(items));
    }
    case Type::object: {
      auto dict = std::make_shared<Dict>();
      dict->entries.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        dict->entries.emplace_back(lossy_utf8(key), convert(item, level + 1));
        dict->depth = std::max(dict->depth, depth_around(depth_of(dict->entries.back().second)));
      }
      return dict;
    }
    default:
      return Value();
  }
}

}  // namespace

Value from_json(const nlohmann::ordered_json& json) {
  return convert(json, 0);
}

}  // namespace rlcpp::tokenizer::jinja
