#include "base/config/schema.h"

#include <algorithm>

#include "base/error.h"

namespace rlcpp::config {

bool Field::called(std::string_view name) const {
  return key == name || std::find(also.begin(), also.end(), name) != also.end();
}

Field& Schema::add_field(std::string_view key, std::string_view doc, ValueType type, bool optional) {
  for (const auto& field : fields) RLCPP_CHECK(field->key != key);
  auto field = std::make_unique<Field>();
  field->key = key;
  field->doc = doc;
  field->type = type;
  field->optional = optional;
  fields.push_back(std::move(field));
  return *fields.back();
}

Field& Schema::refused(std::string_view key, std::string_view sentence) {
  Field& field = add_field(key, sentence, ValueType::kString, false);
  field.refused = sentence;
  return field;
}

void Schema::free_table(std::string_view key, std::string& json, std::string_view doc) {
  free_tables.push_back({std::string(key), std::string(doc), &json});
}

}  // namespace rlcpp::config
