#include "app/run_console.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/version.h"
#include "base/config/scalar.h"
#include "base/config/walk.h"

namespace rlcpp::app {

std::vector<std::string> overrides(const std::function<void(config::Schema&)>& describe,
                                   const config::Origins& origins) {
  std::vector<std::string> lines;
  config::Schema root;
  describe(root);
  for (const auto& [key, origin] : origins) {
    if (origin == "default") continue;
    const config::Target target = config::walk(root, config::split_key(key), false);
    if (target.kind == config::Target::Kind::kField) {
      lines.push_back(fmt::format("{} = {} ({})", key,
                                  config::scalar_to_toml(*target.field, target.field->get()), origin));
    } else if (target.kind == config::Target::Kind::kFree && !target.rest.empty()) {
      // The table itself has an origin too, but its parts say more.
      const auto table = nlohmann::json::parse(*target.free->json, nullptr, false);
      const auto value = table.find(target.rest.front());
      if (value != table.end()) lines.push_back(fmt::format("{} = {} ({})", key, value->dump(), origin));
    }
  }
  return lines;
}

void print_banner(const Banner& banner, Logger& log) {
  log.info(fmt::format("rlcpp {} {} ({}){}", banner.command, version(), commit_text(),
                       banner.mode.empty() ? "" : ", numeric mode " + banner.mode));
  log.info("device: " + banner.device);
  if (!banner.ranks.empty()) log.info("ranks: " + banner.ranks);
  log.info("model: " + banner.model);
  log.info("data: " + banner.data);
  if (banner.overrides.empty()) log.info("configuration: defaults");
  for (const std::string& line : banner.overrides) log.info("set " + line);
  std::istringstream plan(banner.plan);
  for (std::string line; std::getline(plan, line);) log.info("memory: " + line);
  if (!banner.run.empty()) log.info("run: " + banner.run);
}

std::string step_counter(std::int64_t step, std::int64_t max_steps) {
  if (max_steps < 0) return fmt::format("step {}", step);
  return fmt::format("step {:>{}}/{}", step, fmt::formatted_size("{}", max_steps), max_steps);
}

std::pair<std::string, std::string> memory_row(const MemoryPlan& plan, Device device) {
  const auto gib = [](std::size_t bytes) { return monitor::gib(static_cast<double>(bytes)); };
  std::string text =
      fmt::format("{} planned, {} at its peak", gib(plan.total_bytes()), gib(peak_memory_bytes(device)));
  if (plan.host_bytes() > 0) text += fmt::format("; {} of host memory", gib(plan.host_bytes()));
  return {"memory", std::move(text)};
}

std::string result_text(const RunResult& result) {
  std::string text = "\n" + result.title + "\n\n";
  std::size_t width = 0;
  for (const auto& [name, value] : result.rows) width = std::max(width, name.size());
  for (const auto& [name, value] : result.curves) width = std::max(width, name.size());
  for (const auto& [name, value] : result.rows)
    text += fmt::format("  {:<{}}  {}\n", name, width, printable(value));
  for (const auto& [name, values] : result.curves) {
    if (values.size() < 2) continue;
    text += fmt::format("  {:<{}}  {}  {} -> {}\n", name, width, monitor::sparkline(values),
                        monitor::compact(values.front()), monitor::compact(values.back()));
  }
  if (!result.next.empty()) text += "\nnext:\n";
  for (const std::string& command : result.next) text += "  " + printable(command) + "\n";
  return text;
}

std::string result_json(const RunResult& result) {
  nlohmann::ordered_json json;
  json["title"] = result.title;
  json["result"] = result.values.is_null() ? nlohmann::ordered_json::object() : result.values;
  for (const auto& [name, values] : result.curves) json["curves"][name] = values;
  json["next"] = result.next;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string shell_quote(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-_./:=,@+%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string command_without(const std::vector<std::string>& words, const std::vector<std::string>& drop) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string key = words[i].substr(0, words[i].find('='));
    std::replace(key.begin(), key.end(), '_', '-');
    if (std::find(drop.begin(), drop.end(), key) != drop.end()) {
      const bool inline_value = words[i].find('=') != std::string::npos;
      const bool has_value = i + 1 < words.size() && (!words[i + 1].starts_with("--"));
      if (!inline_value && has_value && words[i + 1] != "@") ++i;
      continue;
    }
    out += (out.empty() ? "" : " ") + shell_quote(words[i]);
  }
  return out;
}

}  // namespace rlcpp::app
