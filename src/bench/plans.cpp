#include "bench/plans.h"

#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "bench/page_text.h"
#include "bench/process.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kBytesOfGiB = 0x1p30;
constexpr double kTimeout = 60;  // seconds; a dry run takes a fraction of one

}  // namespace

RowPlan plan_from_json(const std::string& id, const std::string& text) {
  RowPlan plan;
  plan.id = id;
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    const Json& memory = whole.at("memory");
    const auto gib = [&](const char* name) { return memory.value(name, 0.0) / kBytesOfGiB; };
    plan.weights = gib("weights");
    plan.gradients = gib("gradients");
    plan.optimizer = gib("optimizer");
    plan.activations = gib("activations");
    plan.planned = memory.at("planned").get<double>() / kBytesOfGiB;
    // Logits lie in memory that other rows of the plan count.
    plan.other = plan.planned - plan.weights - plan.gradients - plan.optimizer - plan.activations;
    const std::string ranks = whole.value("ranks", "");
    if (const auto at = ranks.find("ZeRO "); at != std::string::npos) plan.zero = ranks.substr(at + 5, 1);
  } catch (const Json::exception& problem) {
    throw bad_input("the dry run of " + id + " wrote no plan", json_problem(problem),
                    "run the row's command with --dry-run --json");
  }
  return plan;
}

std::vector<RowPlan> plan_memory(const std::vector<PlannedRow>& rows, const std::string& program,
                                 const std::string& limit, const std::string& logs,
                                 const std::function<bool()>& keep_going) {
  std::filesystem::create_directories(logs);
  std::vector<RowPlan> plans;
  for (const PlannedRow& row : rows) {
    std::vector<std::string> command = {program};
    command.insert(command.end(), row.arguments.begin(), row.arguments.end());
    // A limit of the row's own is for another card, and stays.
    if (row.config.memory_limit.empty()) command.insert(command.end(), {"--memory-limit", limit});
    command.insert(command.end(), {"--dry-run", "--json", "--quiet"});
    const std::string log = logs + "/" + row.id + ".plan.log";
    const ChildResult child = run_child(command, log, kTimeout, [&](double) { return keep_going(); });
    if (child.stopped) throw Error(ExitCode::kStopped, child.reason());
    const std::string reason = child.reason();
    if (reason.empty()) {
      plans.push_back(plan_from_json(row.id, durable::read_file(log)));
    } else {
      RowPlan& failed = plans.emplace_back();
      failed.id = row.id;
      failed.error = reason;
    }
  }
  return plans;
}

std::string plans_table(const std::vector<RowPlan>& plans) {
  std::string out =
      "| Row | ZeRO | Weights | Gradients | Optimizer | Activations | Other | Planned |\n"
      "|-----|------|---------|-----------|-----------|-------------|-------|---------|\n";
  for (const RowPlan& p : plans) {
    out += p.error.empty()
               ? fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} GiB |\n", p.id,
                             p.zero.empty() ? "–" : p.zero, p.weights, p.gradients, p.optimizer,
                             p.activations, p.other, p.planned)
               : fmt::format("| {} | | | | | | | {} |\n", p.id, cell(p.error));
  }
  return out;
}

}  // namespace rlcpp::bench
