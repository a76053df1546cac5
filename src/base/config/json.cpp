#include <nlohmann/json.hpp>

#include "base/config/load.h"
#include "base/error.h"

namespace rlcpp::config {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson json_of(const Scalar& value) {
  return std::visit(
      [](const auto& content) -> OrderedJson {
        if constexpr (std::is_same_v<std::decay_t<decltype(content)>, std::monostate>) {
          return nullptr;
        } else {
          return content;
        }
      },
      value);
}

OrderedJson json_of(Schema& schema) {
  OrderedJson out = OrderedJson::object();
  for (const auto& field : schema.fields) {
    if (field->refused.empty()) out[field->key] = json_of(field->get());
  }
  for (const auto& free : schema.free_tables) {
    out[free.key] =
        free.json->empty() ? OrderedJson::object() : OrderedJson::parse(*free.json, nullptr, false);
    RLCPP_CHECK(out[free.key].is_object());
  }
  for (const Child& child : schema.children) {
    const auto element = [&](std::size_t index) {
      Schema inside;
      child.describe(inside, index);
      return json_of(inside);
    };
    if (child.list) {
      out[child.key] = OrderedJson::array();
      for (std::size_t i = 0; i < child.count(); ++i) out[child.key].push_back(element(i));
    } else {
      out[child.key] = child.present() ? element(0) : OrderedJson(nullptr);
    }
  }
  return out;
}

}  // namespace

std::string to_json(const std::function<void(Schema&)>& describe) {
  Schema schema;
  describe(schema);
  return json_of(schema).dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace rlcpp::config
