#include "tokenizer/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::json;

// A token is a string, or a table with its content, or null.
std::string token_of(const Json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) {
    return (*found)["content"].get<std::string>();
  }
  throw bad_input(fmt::format("{}: {} must be a token", where, key), fmt::format("it is {}", found->dump()));
}

// A string, or a list of {name, template}, of which "default" is taken, or the only one.
std::string template_of(const Json& config, const std::string& where) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const Json& entry : *found) {
      if (!entry.is_object() || !entry.contains("template") || !entry["template"].is_string()) continue;
      if (entry.value("name", std::string()) == "default" || found->size() == 1) {
        return entry["template"].get<std::string>();
      }
    }
    throw bad_input(
        fmt::format("{}: chat_template lists several templates, none of them named default", where));
  }
  throw bad_input(fmt::format("{}: chat_template must be a string", where),
                  fmt::format("it is of type {}", found->type_name()));
}

void read_added_tokens(const Json& config, const std::string& where, std::vector<AddedToken>& out) {
  const auto found = config.find("added_tokens_decoder");
  if (found == config.end() || found->is_null()) return;
  if (!found->is_object()) throw bad_input(fmt::format("{}: added_tokens_decoder must be a table", where));
  for (const auto& [key, value] : found->items()) {
    const auto& entry = value;  // a lambda of clang 14 cannot take the binding itself
    AddedToken token;
    const bool digits =
        !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !entry.is_object() || !entry.contains("content") || !entry["content"].is_string()) {
      throw bad_input(fmt::format("{}: added_tokens_decoder.{} must be an id with a token", where, key));
    }
    const auto flag = [&](const char* name) {
      return entry.contains(name) && entry[name].is_boolean() && entry[name].get<bool>();
    };
    token.id = std::stoi(key);
    token.content = entry["content"].get<std::string>();
    token.special = flag("special");
    token.lstrip = flag("lstrip");
    token.rstrip = flag("rstrip");
    token.single_word = flag("single_word");
    token.normalized = flag("normalized");
    out.push_back(std::move(token));
  }
  std::sort(out.begin(), out.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

}  // namespace

Settings read_settings(const std::string& directory) {
  Settings settings;
  settings.where = directory + "/tokenizer_config.json";
  if (std::filesystem::is_regular_file(settings.where)) {
    const std::string text = durable::read_file(settings.where);
    if (json_nesting(text) > kDeepestJson)
      throw bad_input(fmt::format("{}: this is nested too deep", settings.where), {}, "fetch the file again");
    Json config;
    try {
      config = Json::parse(text);
    } catch (const Json::parse_error& error) {
      throw bad_input(fmt::format("{}: this is not valid JSON", settings.where),
                      fmt::format("reading stopped at byte {}", error.byte));
    } catch (const Json::exception& error) {  // 1e999
      throw bad_input(fmt::format("{}: a number is beyond what JSON's readers hold", settings.where),
                      error.what());
    }
    if (!config.is_object()) throw bad_input(fmt::format("{}: this must be a table", settings.where));
    settings.bos_token = token_of(config, "bos_token", settings.where);
    settings.eos_token = token_of(config, "eos_token", settings.where);
    settings.pad_token = token_of(config, "pad_token", settings.where);
    settings.unk_token = token_of(config, "unk_token", settings.where);
    settings.chat_template = template_of(config, settings.where);
    read_added_tokens(config, settings.where, settings.added_tokens);
  }
  const std::string jinja = directory + "/chat_template.jinja";
  if (std::filesystem::is_regular_file(jinja)) settings.chat_template = durable::read_file(jinja);
  return settings;
}

}  // namespace rlcpp::tokenizer
