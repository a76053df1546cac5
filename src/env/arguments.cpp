#include "env/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace rlcpp::env {

Arguments::Arguments(const std::string& json_text, std::string environment, Places places)
    : environment_(std::move(environment)), places_(std::move(places)) {
  if (json_text.empty()) {
    values_ = nlohmann::json::object();
    return;
  }
  values_ = nlohmann::json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!values_.is_object()) {
    throw bad_input(fmt::format("{}args of environment '{}' are not a table", at(""), environment_),
                    json_text.substr(0, 80), "write them as args = { name = value, ... }");
  }
}

Error Arguments::refusal(const std::string& name, const std::string& because, const std::string& help) const {
  return bad_input(fmt::format("{}args.{} of environment '{}' cannot be used", at(name), name, environment_),
                   because, help);
}

std::string Arguments::at(const std::string& name) const {
  auto found = places_.find("args." + name);
  if (found == places_.end()) found = places_.find("args");  // a value of the table as a whole
  return found == places_.end() ? "" : found->second + ": ";
}

const nlohmann::json* Arguments::find(const std::string& name) {
  known_.insert(name);
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &*found;
}

bool Arguments::has(const std::string& name) const {
  return values_.contains(name);
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) throw refusal(name, "it is " + value->dump(), "give a string");
  return value->get<std::string>();
}

std::optional<std::string> Arguments::optional_text(const std::string& name,
                                                    const std::optional<std::string>& otherwise) {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return otherwise;
  if (value->is_null()) return std::nullopt;
  if (!value->is_string()) throw refusal(name, "it is " + value->dump(), "give a string, or \"None\"");
  const auto content = value->get<std::string>();
  // TOML has no null: the configuration layer's spelling of it.
  if (content == "None") return std::nullopt;
  return content;
}

std::int64_t Arguments::integer(const std::string& name, std::int64_t otherwise, std::int64_t least,
                                std::int64_t most) {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return otherwise;
  const std::string help = fmt::format("give a whole number from {} to {}", least, most);
  if (!value->is_number_integer()) throw refusal(name, "it is " + value->dump(), help);
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    throw refusal(name, "it is " + value->dump(), help);
  }
  const auto number = value->get<std::int64_t>();
  if (number < least || number > most) throw refusal(name, fmt::format("it is {}", number), help);
  return number;
}

bool Arguments::flag(const std::string& name, bool otherwise) {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw refusal(name, "it is " + value->dump(), "give true or false");
  return value->get<bool>();
}

std::vector<std::string> Arguments::texts(const std::string& name,
                                          const std::vector<std::string>& otherwise) {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return otherwise;
  const bool strings =
      value->is_array() && !value->empty() &&
      std::all_of(value->begin(), value->end(), [](const auto& item) { return item.is_string(); });
  if (!strings) throw refusal(name, "it is " + value->dump(), "give a list of strings");
  return value->get<std::vector<std::string>>();
}

void Arguments::refuse_others() const {
  for (const auto& [name, value] : values_.items()) {
    if (known_.contains(name)) continue;
    throw bad_input(fmt::format("{}environment '{}' has no argument '{}'", at(name), environment_, name),
                    fmt::format("it knows {}", fmt::join(known_, ", ")), "remove it or use one of these");
  }
}

}  // namespace rlcpp::env
