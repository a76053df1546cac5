// rlcpp doctor: what this machine has of what rlcpp can use.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/doctor_checks.h"
#include "app/version.h"
#include "base/error.h"
#include "base/log.h"

namespace rlcpp::app {
namespace {

const char* word_of(Health health) {
  switch (health) {
    case Health::kOk:
      return "ok";
    case Health::kMissing:
      return "missing";
    case Health::kProblem:
      return "problem";
    case Health::kInfo:
      return "-";
  }
  return "";
}

std::vector<Check> all_checks() {
  std::vector<Check> all;
  for (const auto& group : {check_machine(), check_gpus(), check_libraries(), check_places()})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}

std::int64_t count(const std::vector<Check>& checks, Health health) {
  return std::count_if(checks.begin(), checks.end(),
                       [&](const Check& check) { return check.health == health; });
}

std::string table_text(const std::vector<Check>& checks) {
  std::string out = fmt::format("rlcpp {} (commit {})\n", version(), commit_text());
  for (const Check& check : checks) {
    out += fmt::format("  {:<8} {:<12} {}\n", word_of(check.health), check.name, printable(check.found));
    if (!check.help.empty()) out += fmt::format("  {:<8} {:<12} help: {}\n", "", "", check.help);
  }
  const std::int64_t problems = count(checks, Health::kProblem), missing = count(checks, Health::kMissing);
  if (problems == 0 && missing == 0) return out + "everything that rlcpp can use here is here\n";
  return out + fmt::format("{} missing, {} {}; what is missing is needed only for what its line says\n",
                           missing, problems, problems == 1 ? "problem" : "problems");
}

std::string json_text(const std::vector<Check>& checks) {
  nlohmann::ordered_json out = {{"version", version()},
                                {"commit", commit_text()},
                                {"missing", count(checks, Health::kMissing)},
                                {"problems", count(checks, Health::kProblem)},
                                {"checks", nlohmann::ordered_json::array()}};
  for (const Check& check : checks) {
    nlohmann::ordered_json entry = {{"name", check.name},
                                    {"state", check.health == Health::kInfo ? "info" : word_of(check.health)},
                                    {"found", check.found}};
    if (!check.help.empty()) entry["help"] = check.help;
    out["checks"].push_back(std::move(entry));
  }
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

int run_doctor(const Invocation& invocation) {
  if (!invocation.arguments.empty())
    throw bad_input("doctor takes no arguments",
                    fmt::format("it got \"{}\"", printable(invocation.arguments.front())));
  const std::vector<Check> checks = all_checks();
  fmt::print("{}", invocation.json ? json_text(checks) : table_text(checks));
  return static_cast<int>(count(checks, Health::kProblem) > 0 ? ExitCode::kEnvironment : ExitCode::kDone);
}

}  // namespace

Command doctor_command() {
  Command c;
  c.name = "doctor";
  c.summary =
      "Say what this machine has of what rlcpp can use, and what is missing; 3 if something cannot be used.";
  c.usage = "rlcpp doctor [--json]";
  c.examples = {"rlcpp doctor", "rlcpp doctor --json"};
  c.options = [] { return std::string("  No options of its own.\n"); };
  c.run = run_doctor;
  return c;
}

}  // namespace rlcpp::app
