// rlcpp report: the benchmark page, the comparison with baselines and the history, from result files.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/report_scaling.h"
#include "app/version.h"
#include "base/config/load.h"
#include "base/durable.h"
#include "base/error.h"
#include "bench/figures.h"
#include "bench/history.h"
#include "bench/page.h"
#include "bench/page_check.h"
#include "bench/publication_page.h"
#include "bench/rl_page.h"
#include "bench/rollout_page.h"
#include "bench/runner.h"
#include "tensor/device.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct ReportConfig {
  std::string results = "benchmarks/results";
  std::string baselines = "benchmarks/baselines";
  std::string peers = "benchmarks/peers";
  std::string history = "benchmarks/history.jsonl";
  std::string figures = "benchmarks/figures.toml";
  ScalingInput scaling;
  std::string rollouts = "benchmarks/rollouts", rl = "benchmarks/rl";
  std::string publication = "benchmarks/publication";
  std::string out;
  bool check = false;
  bool partial = false;
  bool update_baselines = false;
  double regression_threshold = 0.05;
  double diff_display_threshold = 0.01;

  void describe(config::Schema& s) {
    s.field("results", results, "Directory of result files (benchmark-*.json).");
    s.field("baselines", baselines, "Directory of baseline files, ours or the reference project's own.");
    s.field("peers", peers,
            "Directory of figures of other trainers (*.json) that the page shows beside ours; empty: none.");
    s.field("history", history, "File of all results ever reported; its plot is written beside it as .svg.");
    s.field(
        "figures", figures,
        "File that lists figures of the results in other documents, which `check` compares; empty: none.");
    scaling.describe(s);
    s.field("rollouts", rollouts,
            "Directory of results of rlcpp bench rollout and of its peers (*.json) for the section Rollouts; "
            "empty: none.");
    s.field("rl", rl,
            "Directory of results of rlcpp bench rl (*.json) for the section RL steps; empty: none.");
    s.field("publication", publication,
            "Directory of results of rlcpp bench publication (*.json) for the section Publication; empty: "
            "none.");
    s.field("out", out, "The page; empty: BENCHMARKS.md in `results`.");
    s.field("check", check,
            "Leave with 4 if a row regressed or is missing, with 1 if page, history or documents say other "
            "figures than the results; change no file.");
    s.field("partial", partial,
            "The results are some of the rows only: a baseline without a result does not fail the check.");
    s.field("update_baselines", update_baselines, "Make the successful results the new baselines.");
    s.field("regression_threshold", regression_threshold, "Relative loss that counts as a regression.")
        .above(0);
    s.field("diff_display_threshold", diff_display_threshold, "Relative difference from which it is shown.")
        .at_least(0);
  }
};

// What the check found, as one JSON object.
struct Findings {
  std::vector<std::string> regressions, missing;
  std::vector<std::string> wrong;  // what is written down and not what the results say
  std::int64_t rows = 0, compared = 0;
  Json json() const {
    return {{"rows", rows},
            {"with_baseline", compared},
            {"regressions", regressions},
            {"missing", missing},
            {"wrong", wrong}};
  }
};

Findings findings_of(const std::vector<bench::Result>& results, const bench::Baselines& baselines,
                     const bench::Thresholds& thresholds, bool partial) {
  Findings found;
  found.regressions = bench::regressions(results, baselines, thresholds);
  if (!partial) found.missing = bench::missing_rows(results, baselines);
  found.rows = static_cast<std::int64_t>(results.size());
  found.compared = std::count_if(results.begin(), results.end(),
                                 [&](const bench::Result& r) { return baselines.find(r.config) != nullptr; });
  return found;
}

void print_findings(const Findings& found, const bench::Thresholds& thresholds) {
  for (const std::string& line : found.regressions) fmt::print("regression: {}\n", line);
  for (const std::string& line : found.missing)
    fmt::print("missing: {} has a baseline and no result\n", line);
  constexpr std::size_t kShown = 20;  // a page of another day differs in every line
  for (std::size_t i = 0; i < std::min(kShown, found.wrong.size()); ++i)
    fmt::print("wrong: {}\n", found.wrong[i]);
  if (found.wrong.size() > kShown)
    fmt::print("wrong: {} more; --json shows all\n", found.wrong.size() - kShown);
  fmt::print("{} rows, {} with a baseline, {} regressions over {:.0f} %, {} missing\n", found.rows,
             found.compared, found.regressions.size(), 100 * thresholds.regression, found.missing.size());
}

// The results of a directory that must be there.
std::vector<bench::Result> results_of(const std::string& directory, const std::string& key) {
  if (!std::filesystem::is_directory(directory)) {
    throw bad_input("there is no directory " + directory, "--" + key + " names it",
                    "give the directory of result files with --" + key);
  }
  return bench::read_directory(directory);
}

std::vector<bench::Peer> peers_of(const std::string& directory) {
  if (directory.empty()) return {};
  if (!std::filesystem::exists(directory)) {
    throw bad_input("there is no directory " + directory, "--peers names it",
                    "give the directory of peer files, or --peers '' for a page without peers");
  }
  return bench::read_peers(directory);
}

bench::Figures figures_of(const std::string& file) {
  bench::Figures figures;
  if (file.empty()) return figures;
  if (!std::filesystem::exists(file)) {
    throw bad_input("there is no file " + file, "--figures names it",
                    "give the list of figures in documents, or --figures '' for none");
  }
  config::load(config::describer(figures), {"@", file});
  return figures;
}

// The files that report writes, and where the page sees the plots.
struct Paths {
  std::string page, plot, plot_from_page, scaling, scaling_from_page;
  explicit Paths(const ReportConfig& config)
      : page(config.out.empty() ? config.results + "/BENCHMARKS.md" : config.out),
        plot(std::filesystem::path(config.history).replace_extension(".svg").string()),
        scaling((std::filesystem::path(config.history).parent_path() / "scaling.svg").string()) {
    const auto page_dir = std::filesystem::absolute(page).parent_path();
    plot_from_page = std::filesystem::absolute(plot).lexically_relative(page_dir).generic_string();
    scaling_from_page = std::filesystem::absolute(scaling).lexically_relative(page_dir).generic_string();
  }
};

// Scaling, rollouts, steps of rl, publication.
std::string sections_of(const ReportConfig& config, const ScalingReport& scaling, const Paths& paths) {
  const ReportConfig usual;
  for (const auto& [key, path, left] :
       {std::tuple{"rollouts", config.rollouts, usual.rollouts}, std::tuple{"rl", config.rl, usual.rl},
        std::tuple{"publication", config.publication, usual.publication}}) {
    if (path.empty() || path == left || std::filesystem::is_directory(path)) continue;
    throw bad_input(std::string(key) + " = \"" + path + "\" is no directory",
                    "the page would lose its section",
                    "name the directory of the results, or leave " + std::string(key) + " out");
  }
  const std::string first = scaling.lines.empty() ? "" : scaling.section(paths.scaling_from_page);
  return first + bench::render_rollouts(bench::read_rollouts(config.rollouts)) +
         bench::render_rl(bench::read_rl(config.rl)) +
         bench::render_publications(bench::read_publications(config.publication));
}

// What stands in page, history and documents against what the results say.
std::vector<std::string> wrong_figures(const ReportConfig& config, const std::vector<bench::Result>& results,
                                       const bench::Baselines& baselines,
                                       const std::vector<bench::Peer>& peers) {
  const Paths paths(config);
  std::vector<std::string> wrong;
  for (const std::string& path : {paths.page, paths.plot}) {
    if (!std::filesystem::exists(path)) wrong.push_back(path + " is not there; rlcpp report writes it");
  }
  if (!wrong.empty()) return wrong;
  const auto add = [&](std::vector<std::string> lines) {
    wrong.insert(wrong.end(), lines.begin(), lines.end());
  };
  const ScalingReport scaling = report_scaling(config.scaling, results);
  add(bench::page_differences(paths.page, durable::read_file(paths.page), results, baselines, peers,
                              paths.plot_from_page, sections_of(config, scaling, paths)));
  if (!scaling.lines.empty() && (!std::filesystem::exists(paths.scaling) ||
                                 durable::read_file(paths.scaling) != bench::scaling_svg(scaling.lines)))
    wrong.push_back(paths.scaling + " is not the plot of these results; rlcpp report writes it");
  add(bench::history_differences(bench::read_history(config.history), durable::read_file(paths.plot),
                                 results));
  add(bench::figure_differences(figures_of(config.figures), results, peers));
  return wrong;
}

int run_report(const Invocation& invocation) {
  Logger log(invocation.log);
  ReportConfig config;
  config::load(config::describer(config), invocation.arguments);

  const std::vector<bench::Result> results = results_of(config.results, "results");
  if (results.empty()) {
    throw bad_input("there are no result files in " + config.results, "no benchmark-*.json was found",
                    "run rlcpp bench @ benchmarks/matrix.toml first, or give --results");
  }
  // The first baselines make their directory.
  const bool first = config.update_baselines && !std::filesystem::exists(config.baselines);
  const bench::Baselines baselines(first ? std::vector<bench::Result>{}
                                         : results_of(config.baselines, "baselines"));
  const std::vector<bench::Peer> peers = peers_of(config.peers);
  const bench::Thresholds thresholds{config.regression_threshold, config.diff_display_threshold};
  Findings found = findings_of(results, baselines, thresholds, config.partial);
  if (config.check || invocation.dry_run) {
    if (config.check) found.wrong = wrong_figures(config, results, baselines, peers);
    if (invocation.json) {
      fmt::print("{}\n", found.json().dump(1));
    } else {
      print_findings(found, thresholds);
    }
    if (!found.regressions.empty() || !found.missing.empty()) return static_cast<int>(ExitCode::kCheckFailed);
    return static_cast<int>(found.wrong.empty() ? ExitCode::kDone : ExitCode::kFailed);
  }

  auto& files = durable::system_files();
  const Paths paths(config);
  durable::write_file(files, paths.plot, bench::history_svg(bench::append_history(config.history, results)));
  if (config.update_baselines) {
    std::filesystem::create_directories(config.baselines);
    for (const bench::Result& r : results) {
      if (r.config.success)
        durable::write_file(files, config.baselines + "/" + r.config.file_name(), bench::to_json(r));
    }
    log.success("the baselines in " + config.baselines + " are the results of today");
  }
  bench::PageFacts facts;
  facts.updated = bench::utc_timestamp();
  facts.commit = commit_sha();
  facts.machine = machine_line();
  facts.history = paths.plot_from_page;
  const ScalingReport scaling = report_scaling(config.scaling, results);
  if (!scaling.lines.empty()) durable::write_file(files, paths.scaling, bench::scaling_svg(scaling.lines));
  facts.sections = sections_of(config, scaling, paths);
  // Beside the baselines that are there from now on, which the next --check reads.
  const bench::Baselines now =
      config.update_baselines ? bench::Baselines(results_of(config.baselines, "baselines")) : baselines;
  durable::write_file(files, paths.page, bench::render_page(results, now, thresholds, facts, peers));
  log.success("wrote " + paths.page + ", " + paths.plot +
              (scaling.lines.empty() ? "" : " and " + paths.scaling));
  // For information: only --check fails on it.
  if (invocation.json) {
    Json json = found.json();
    json["page"] = paths.page;
    json["plot"] = paths.plot;
    json["history"] = config.history;
    json["baselines_updated"] = config.update_baselines;
    fmt::print("{}\n", json.dump(1));
  } else {
    print_findings(found, thresholds);
  }
  return 0;
}

}  // namespace

Command report_command() {
  Command c;
  c.name = "report";
  c.summary = "Write the benchmark page, compare with baselines, keep the history.";
  c.usage = "rlcpp report [--check] [--update-baselines] [--key value ...]";
  c.examples = {"rlcpp report", "rlcpp report --check"};
  describe_options<ReportConfig>(c);
  c.run = run_report;
  return c;
}

}  // namespace rlcpp::app
