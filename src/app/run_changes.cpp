#include "app/run_changes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace rlcpp::app {
namespace {

void collect(const nlohmann::json& json, const std::string& key, std::map<std::string, std::string>& out) {
  if (!json.is_structured() || json.empty()) {
    out[key] = json.is_null() ? "None" : json.dump();
    return;
  }
  const auto under = [&](const std::string& name) { return key.empty() ? name : key + "." + name; };
  if (json.is_object()) {
    for (const auto& [name, value] : json.items()) collect(value, under(name), out);
    return;
  }
  const bool tables =
      std::all_of(json.begin(), json.end(), [](const auto& item) { return item.is_object(); });
  if (!tables) {
    out[key] = json.dump();
    return;
  }
  for (std::size_t i = 0; i < json.size(); ++i) collect(json[i], under(std::to_string(i)), out);
}

}  // namespace

std::map<std::string, std::string> values_by_key(const std::string& configuration) {
  std::map<std::string, std::string> out;
  const auto json = nlohmann::json::parse(configuration, nullptr, false);
  if (json.is_object() && !json.empty()) collect(json, "", out);
  return out;
}

std::vector<Change> changes(const std::string& before, const std::string& now) {
  const std::map<std::string, std::string> left = values_by_key(before), right = values_by_key(now);
  if (left.empty() || right.empty()) return {};
  std::vector<Change> out;
  std::map<std::string, std::pair<std::optional<std::string>, std::optional<std::string>>> both;
  for (const auto& [key, value] : left) both[key].first = value;
  for (const auto& [key, value] : right) both[key].second = value;
  for (const auto& [key, values] : both) {
    if (values.first == values.second) continue;
    out.push_back({key, fmt::format("{} = {} (was {})", key, values.second.value_or("absent"),
                                    values.first.value_or("absent"))});
  }
  return out;
}

}  // namespace rlcpp::app
