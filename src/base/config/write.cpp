#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/config/load.h"
#include "base/config/scalar.h"
#include "base/error.h"
#include "base/log.h"

namespace rlcpp::config {
namespace {

using Json = nlohmann::json;

std::string inline_toml(const Json& json) {
  if (json.is_null()) return "\"None\"";
  if (json.is_boolean()) return json.get<bool>() ? "true" : "false";
  if (json.is_number_float()) return float_text(json.get<double>(), false);
  if (json.is_number()) return json.dump();
  if (json.is_string()) return toml_string(json.get<std::string>());
  std::string text;
  if (json.is_array()) {
    for (const Json& item : json) text += (text.empty() ? "" : ", ") + inline_toml(item);
    return "[" + text + "]";
  }
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", toml_key(key), inline_toml(value));
  }
  return text.empty() ? "{}" : "{ " + text + " }";
}

class Writer {
 public:
  explicit Writer(const Origins* origins) : origins_(origins) {}

  // Values come before sub-tables, as TOML wants: what follows a [header] belongs to it.
  void table(Schema& schema, const std::string& prefix) {
    const std::string dot = prefix.empty() ? "" : prefix + ".";
    for (const auto& field : schema.fields) {
      if (field->refused.empty()) line(field->key, scalar_to_toml(*field, field->get()), dot + field->key);
    }
    for (const auto& free : schema.free_tables) {
      const Json json = free.json->empty() ? Json::object() : Json::parse(*free.json, nullptr, false);
      RLCPP_CHECK(json.is_object());
      line(free.key, inline_toml(json), dot + free.key);
    }
    for (const Child& child : schema.children) {
      if (child.list && child.count() == 0) line(child.key, "[]", dot + child.key);
      if (child.optional && !child.present()) line(child.key, "\"None\"", dot + child.key);
    }
    for (const Child& child : schema.children) {
      const std::string key = dot + child.key;
      const std::size_t count = child.list ? child.count() : (child.present() ? 1 : 0);
      for (std::size_t i = 0; i < count; ++i) {
        // TOML's header of a table inside a list element names the list alone: [env.sampling] is of the last
        // [[env]].
        header(child.list ? "[[" : "[", child.key, child.list ? "]]" : "]");
        headers_.push_back(child.key);
        Schema inside;
        child.describe(inside, i);
        table(inside, child.list ? fmt::format("{}.{}", key, i) : key);
        headers_.pop_back();
      }
    }
  }

  std::string text() { return std::move(text_); }

 private:
  void header(const std::string& open, const std::string& key, const std::string& close) {
    if (!text_.empty()) text_ += '\n';
    text_ += open;
    for (const std::string& part : headers_) text_ += toml_key(part) + ".";
    text_ += toml_key(key) + close + '\n';
  }

  void line(const std::string& name, const std::string& value, const std::string& key) {
    text_ += toml_key(name) + " = " + value;
    if (origins_ != nullptr) {
      const auto found = origins_->find(key);
      text_ += "  # " + (found == origins_->end() ? "default" : printable(found->second));
    }
    text_ += '\n';
  }

  const Origins* origins_;
  std::string text_;
  std::vector<std::string> headers_;
};

}  // namespace

std::string to_toml(const std::function<void(Schema&)>& describe, const Origins* origins) {
  Schema schema;
  describe(schema);
  Writer writer(origins);
  writer.table(schema, "");
  return writer.text();
}

}  // namespace rlcpp::config
