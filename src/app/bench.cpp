// rlcpp bench @ benchmarks/matrix.toml: a process a row, time-outs, progress, resumable; failures kept with
// their reason.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/version.h"
#include "base/config/load.h"
#include "base/error.h"
#include "base/signals.h"
#include "bench/plans.h"
#include "bench/process.h"
#include "bench/runner.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

// --plan-within: the table, and exit code 4 if a row does not fit.
int print_plans(const std::vector<bench::PlannedRow>& rows, const bench::Matrix& matrix, bool json) {
  install_signal_handlers();
  const std::vector<bench::RowPlan> plans =
      bench::plan_memory(rows, bench::own_program(), matrix.plan_within, matrix.results + "/logs",
                         [] { return stop_signal() == 0; });
  if (json) {
    Json out = Json::array();
    for (const bench::RowPlan& p : plans) {
      out.push_back({{"id", p.id},
                     {"zero", p.zero.empty() ? Json() : Json(std::stoi(p.zero))},
                     {"planned_gib", p.error.empty() ? Json(p.planned) : Json()},
                     {"error", p.error.empty() ? Json() : Json(p.error)}});
    }
    fmt::print("{}\n", out.dump(1));
  } else {
    fmt::print("{}", bench::plans_table(plans));
  }
  const bool fit =
      std::all_of(plans.begin(), plans.end(), [](const bench::RowPlan& p) { return p.error.empty(); });
  return static_cast<int>(fit ? ExitCode::kDone : ExitCode::kCheckFailed);
}

int run_rows(const Invocation& invocation) {
  Logger log(invocation.log);
  bench::Matrix matrix;
  config::load(config::describer(matrix), invocation.arguments);
  std::vector<bench::PlannedRow> rows = bench::plan_rows(matrix);
  if (rows.empty()) {
    throw bad_input(
        "no row of the matrix is to be run",
        matrix.row.empty() ? "it has no [[row]]" : "none has what --only and --gpus ask for",
        "rlcpp bench @ benchmarks/matrix.toml --dry-run lists the rows without --only and --gpus");
  }
  if (!matrix.plan_within.empty()) return print_plans(rows, matrix, invocation.json);
  if (invocation.dry_run && invocation.json) {
    Json planned = Json::array();
    for (const bench::PlannedRow& row : rows)
      planned.push_back({{"id", row.id}, {"command", bench::recorded_command(row)}});
    fmt::print("{}\n", planned.dump(1));
    return 0;
  }
  if (invocation.dry_run) {
    for (const bench::PlannedRow& row : rows)
      fmt::print("{}\n  rlcpp {}\n", row.id, fmt::join(row.arguments, " "));
    return 0;
  }
  install_signal_handlers();
  bench::RunnerOptions options;
  options.program = bench::own_program();
  options.results = matrix.results;
  options.commit_sha = commit_sha();
  options.seconds = 60 * matrix.minutes;
  const Device device = choose_device(matrix.device).device;
  options.device_name = device_label(device);
  options.numeric_mode = device.kind == DeviceKind::kCpu ? "exact" : "fast";
  options.fresh = matrix.fresh;
  options.repeats = matrix.repeats;
  options.say = [&](const std::string& line) { log.info(line); };
  options.keep_going = [] { return stop_signal() == 0; };
  std::vector<bench::LeftOut> left_out;
  if (device.kind == DeviceKind::kCuda) {
    std::string why;
    left_out = bench::leave_out_larger(rows, static_cast<std::int64_t>(cuda::gpus(&why).size()));
    for (const bench::LeftOut& row : left_out) log.info(row.id + ": left out: " + row.why);
  }
  if (rows.empty()) {
    throw environment_error("no row of the matrix can be run here",
                            left_out.front().id + ": " + left_out.front().why,
                            "use a machine with more GPUs, or --device cpu");
  }
  const bench::RunnerOutcome outcome = bench::run_matrix(rows, options);
  left_out.insert(left_out.end(), outcome.left_out.begin(), outcome.left_out.end());
  if (invocation.json) {
    Json left = Json::array();
    for (const bench::LeftOut& row : left_out) left.push_back({{"id", row.id}, {"why", row.why}});
    fmt::print("{}\n", Json{{"done", outcome.done},
                            {"skipped", outcome.skipped},
                            {"failed", outcome.failed},
                            {"stopped", outcome.stopped},
                            {"left_out", left},
                            {"results", matrix.results}}
                           .dump(1));
  } else {
    fmt::print("{} done, {} skipped, {} failed{}; results in {}\n", outcome.done, outcome.skipped,
               outcome.failed, left_out.empty() ? "" : fmt::format(", {} left out", left_out.size()),
               matrix.results);
    for (const bench::LeftOut& row : left_out) fmt::print("left out: {}: {}\n", row.id, row.why);
  }
  if (outcome.stopped) {
    log.warn("stopped before the last row; the same command goes on with the rows that are left");
    return stop_signal() == 0 ? static_cast<int>(ExitCode::kStopped) : 128 + stop_signal();
  }
  if (!invocation.json) fmt::print("next: rlcpp report\n");
  return outcome.failed == 0 ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace

Command bench_command() {
  Command c;
  c.name = "bench";
  c.summary = "Run the rows of a benchmark matrix, a process each.";
  c.usage = "rlcpp bench @ benchmarks/matrix.toml [--only TEXT] [--gpus N,N] [--minutes M] [--fresh]";
  c.examples = {"rlcpp bench @ benchmarks/matrix.toml --dry-run",
                "rlcpp bench @ benchmarks/matrix-scaling.toml --gpus 1,4 --minutes 8"};
  describe_options<bench::Matrix>(c);
  c.run = run_rows;
  return c;
}

}  // namespace rlcpp::app
