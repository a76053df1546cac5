// json.dumps of Python, which the filter tojson is in chat templates.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/runtime.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer::jinja {
namespace {

void append_string(std::string& out, const std::string& text, bool ensure_ascii) {
  out.push_back('"');
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\f':
        out += "\\f";
        continue;
      case '\b':
        out += "\\b";
        continue;
      default:
        break;
    }
    // With ensure_ascii Python escapes everything outside ' '..'~', so also DEL; without it only control
    // characters.
    if (c < 0x20 || (ensure_ascii && c > 0x7E && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else if (ensure_ascii && c >= 0x10000) {
      const auto rest = static_cast<std::uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    } else {
      append_utf8(out, c);
    }
  }
  out.push_back('"');
}

std::string number_text(const Value& value) {
  if (value.is(Kind::kBool)) return value.as_bool() ? "true" : "false";
  if (value.is(Kind::kInt)) return std::to_string(value.as_int());
  const double real = value.as_float();
  if (std::isnan(real)) return "NaN";
  if (std::isinf(real)) return real < 0 ? "-Infinity" : "Infinity";
  return float_text(real);
}

class Writer {
 public:
  Writer(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void write(const Value& value) {
    const Runtime::Depth depth(runtime_);
    const std::size_t before = out.size();
    runtime_.spend();
    if (value.is_none()) {
      out += "null";
    } else if (value.is_number()) {
      out += number_text(value);
    } else if (value.is_string()) {
      runtime_.spend_bytes(value.as_string().size());
      append_string(out, value.as_string(), style_.ensure_ascii);
      runtime_.spend_growth(before, out.size());
    } else if (value.is(Kind::kDict)) {
      write_dict(value.as_dict());
    } else if (value.is_sequence(SequenceKind::kList) || value.is_sequence(SequenceKind::kTuple)) {
      write_list(value.as_sequence().items);
    } else {
      runtime_.fail(fmt::format("tojson cannot write a value of type {}", type_name(value)));
    }
  }

  std::string out;

 private:
  void line(int level) {
    if (!style_.lines) return;
    out.push_back('\n');
    for (int i = 0; i < level; ++i) out += style_.indent;
  }

  std::string key_text(const Value& key) {
    if (key.is_string()) return key.as_string();
    if (key.is_none()) return "null";
    if (key.is_number()) return number_text(key);
    runtime_.fail(fmt::format("tojson cannot write a key of type {}", type_name(key)));
  }

  void write_list(const Values& items) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out.push_back('[');
    ++level_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level_);
      write(items[i]);
    }
    line(--level_);
    out.push_back(']');
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(runtime_, a->first, b->first); });
    }
    out.push_back('{');
    ++level_;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(level_);
      append_string(out, key_text(entries[i]->first), style_.ensure_ascii);
      out += style_.key_separator;
      write(entries[i]->second);
    }
    line(--level_);
    out.push_back('}');
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style) {
  Writer writer(runtime, style);
  writer.write(value);
  runtime.spend_bytes(writer.out.size());
  return std::move(writer.out);
}

}  // namespace rlcpp::tokenizer::jinja
