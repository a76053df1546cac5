// rlcpp curves: loss, reward or any other metric of runs as a table, sparklines and one SVG.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "base/config/load.h"
#include "base/durable.h"
#include "base/error.h"
#include "monitor/console.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

struct CurvesConfig {
  std::vector<std::string> runs;
  std::vector<std::string> keys = {"loss/mean", "val/loss", "reward/mean", "val_reward/mean"};
  bool together = false;
  std::string out;

  void describe(config::Schema& s) {
    s.field("runs", runs, "Run directories whose metrics.jsonl is read, one panel a run and metric.");
    s.field("keys", keys, "Metrics to show; a run without one of them leaves it out.");
    s.field("together", together, "One panel a metric, with a curve for each run, to compare them.");
    s.field("out", out, "File of the SVG; empty: none.");
  }
};

monitor::Curve read_curve(const std::string& path, const std::string& key) {
  monitor::Curve curve;
  curve.name = key;
  std::ifstream file(path);
  if (!file) throw bad_input("cannot read " + path, "", "name a run directory that holds a metrics.jsonl");
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find("\"" + key + "\"") == std::string::npos) continue;
    const Json row = Json::parse(line, nullptr, false);
    // The last line of a run that goes on may be half written.
    if (row.is_discarded()) {
      if (file.peek() == std::ifstream::traits_type::eof()) break;
      throw bad_input(fmt::format("{}:{} is not JSON", path, number), "", "restore the line, or remove it");
    }
    // The name may stand in a line as somebody's value.
    const auto value = row.is_object() ? row.find(key) : row.end();
    if (value == row.end()) continue;
    const auto step = row.find("step");
    if (step == row.end() || !step->is_number()) {
      throw bad_input(fmt::format("{}:{} has no number of a step", path, number), "",
                      "restore the line, or remove it");
    }
    curve.x.push_back(step->get<double>());
    curve.y.push_back(value->is_number() ? value->get<double>() : std::nan(""));
  }
  return curve;
}

// One step alone is noise: five values at each end make a mean, where the ends do not overlap.
std::size_t values_an_end(const std::vector<double>& values) {
  return values.size() < 10 ? 1 : 5;
}

double mean_of_end(const std::vector<double>& values, bool last) {
  const std::size_t count = values_an_end(values);
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += values[last ? values.size() - 1 - i : i];
  return sum / static_cast<double>(count);
}

int run_curves(const Invocation& invocation) {
  CurvesConfig config;
  config::load(config::describer(config), invocation.arguments);
  if (config.runs.empty())
    throw bad_input("no run was named", "", "rlcpp curves --runs outputs/sft,outputs/rl");
  std::vector<std::vector<std::string>> rows = {
      {"run", "metric", "points", "mean of", "first", "last", "change"}};
  std::vector<monitor::Panel> panels;
  std::string lines;
  Json json = Json::array();
  for (const std::string& run_dir : config.runs) {
    const std::string name = std::filesystem::path(run_dir + "/").parent_path().filename().string();
    for (const std::string& key : config.keys) {
      monitor::Curve curve = read_curve(run_dir + "/metrics.jsonl", key);
      if (curve.y.empty()) continue;
      const std::size_t count = values_an_end(curve.y);
      const double first = mean_of_end(curve.y, false);
      const double last = mean_of_end(curve.y, true);
      rows.push_back({name, key, std::to_string(curve.y.size()), std::to_string(count),
                      fmt::format("{:.4f}", first), fmt::format("{:.4f}", last),
                      fmt::format("{:+.4f}", last - first)});
      lines += fmt::format("{:>20}  {}\n", fmt::format("{} {}", name, key), monitor::sparkline(curve.y));
      json.push_back({{"run", run_dir},
                      {"metric", key},
                      {"points", curve.y.size()},
                      {"mean_of", count},
                      {"first", first},
                      {"last", last}});
      if (!config.together) {
        panels.push_back({fmt::format("{}: {}", name, key), "step", key, {std::move(curve)}});
        continue;
      }
      curve.name = name;
      const auto same = [&](const monitor::Panel& panel) { return panel.title == key; };
      auto panel = std::find_if(panels.begin(), panels.end(), same);
      if (panel == panels.end()) panel = panels.insert(panels.end(), {key, "step", key, {}});
      panel->curves.push_back(std::move(curve));
    }
  }
  if (panels.empty()) {
    throw bad_input("none of the metrics was found in the runs",
                    fmt::format("looked for {}", fmt::join(config.keys, ", ")), "name others with --keys");
  }
  if (!config.out.empty())
    durable::write_file(durable::system_files(), config.out, monitor::svg("rl.cpp", panels));
  if (invocation.json) {
    fmt::print("{}\n", json.dump(1));
  } else {
    fmt::print("{}\n{}", monitor::table(rows), lines);
    if (!config.out.empty()) fmt::print("\ncurves: {}\n", config.out);
  }
  return 0;
}

}  // namespace

Command curves_command() {
  Command c;
  c.name = "curves";
  c.summary = "Show metrics of runs as a table, sparklines and an SVG.";
  c.usage = "rlcpp curves --runs DIR[,DIR...] [--keys NAME,...] [--out FILE.svg]";
  c.examples = {"rlcpp curves --runs outputs/sft,outputs/rl --out curves.svg",
                "rlcpp curves --runs outputs/rl --keys optim/grad_norm,entropy/mean"};
  describe_options<CurvesConfig>(c);
  c.run = run_curves;
  return c;
}

}  // namespace rlcpp::app
