#include "app/config_schema.h"

#include <nlohmann/json.hpp>

#include <sstream>

namespace rlcpp::app {
namespace {

using Schema = nlohmann::ordered_json;

Schema base_type(const std::string& type) {
  if (type == "int") return {{"type", "integer"}};
  if (type == "float") return {{"type", "number"}};
  if (type == "bool") return {{"type", "boolean"}};
  if (type == "string") return {{"type", "string"}};
  if (type == "list of strings") return {{"type", "array"}, {"items", {{"type", "string"}}}};
  if (type == "list of floats") return {{"type", "array"}, {"items", {{"type", "number"}}}};
  if (type == "list of ints") return {{"type", "array"}, {"items", {{"type", "integer"}}}};
  return {{"type", "object"}};  // "table": any keys
}

Schema value_schema(const config::KeyInfo& info) {
  Schema schema = base_type(info.type);
  constexpr std::string_view kChoices = "one of: ";
  if (const std::size_t at = info.allowed.find(kChoices); at != std::string::npos) {
    schema["enum"] = Schema::array();
    std::stringstream list(info.allowed.substr(at + kChoices.size()));
    for (std::string word; std::getline(list, word, ',');) {
      word.erase(0, word.find_first_not_of(' '));
      if (word.starts_with("or ")) word.erase(0, 3);
      if (word != "None") schema["enum"].push_back(word);
    }
  }
  const bool optional = info.allowed.find("or None") != std::string::npos;
  if (optional) schema = {{"anyOf", {schema, {{"const", "None"}}}}};
  schema["description"] = info.doc + (info.unit.empty() ? "" : " [" + info.unit + "]");
  const Schema fallback = Schema::parse(info.default_value, nullptr, false);
  if (!fallback.is_discarded()) schema["default"] = fallback;
  return schema;
}

Schema object() {
  return {{"type", "object"}, {"properties", Schema::object()}, {"additionalProperties", false}};
}

// Puts `schema` at a dotted key. "env.0.id" is the key id of the elements of the list env.
void place(Schema& root, const std::string& key, Schema schema) {
  Schema* at = &root;
  std::stringstream parts(key);
  std::vector<std::string> names;
  for (std::string name; std::getline(parts, name, '.');) names.push_back(name);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "0") {
      at = &(*at)["items"];
      continue;
    }
    Schema& child = (*at)["properties"][names[i]];
    if (i + 1 == names.size()) {
      child = std::move(schema);
      return;
    }
    // A section that may be "None" has its keys in the first alternative.
    at = child.contains("anyOf") ? &child["anyOf"][0] : &child;
  }
}

}  // namespace

std::string json_schema(const Command& command) {
  Schema root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "rlcpp " + command.name},
                 {"description", command.summary}};
  root.update(object());
  root["properties"]["toml_files"] = {{"type", "array"},
                                      {"items", {{"type", "string"}}},
                                      {"description", "Files that this one builds on, relative to itself."}};
  for (const config::KeyInfo& info : command.keys()) {
    if (info.type == "section") {
      Schema section = object();
      if (info.allowed.find("optional") != std::string::npos) {
        section = {{"anyOf", {section, {{"const", "None"}}}}};
      }
      section["description"] = info.doc;
      place(root, info.key, std::move(section));
    } else if (info.type == "list of tables") {
      place(root, info.key, {{"type", "array"}, {"items", object()}, {"description", info.doc}});
    } else {
      place(root, info.key, value_schema(info));
    }
  }
  return root.dump(2) + "\n";
}

}  // namespace rlcpp::app
