#include "bench/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "bench/page.h"
#include "monitor/console.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string line_of(const HistoryPoint& p) {
  return Json{{"identity", p.identity},
              {"timestamp", p.timestamp},
              {"commit", p.commit},
              {"throughput", p.throughput},
              {"mfu", p.mfu},
              {"step_time", p.step_time},
              {"peak_memory_gib", p.peak_memory_gib}}
             .dump() +
         "\n";
}

// Title of the panel and name of the curve, short enough for the plot: ("qwen3-20m RL, 1xCPU AMD EPYC",
// "512 Recompute exact") of RunConfig::identity's parts.
std::pair<std::string, std::string> short_names(const std::string& identity) {
  std::vector<std::string> parts;
  std::istringstream text(identity);
  for (std::string part; std::getline(text, part, '|');) parts.push_back(part);
  if (parts.size() < 9) return {identity, identity};
  std::string name = parts[4] + " " + parts[5];
  if (parts[3] != "none") name += " LoRA " + parts[3];
  if (parts[6] != "rlcpp") name += " " + parts[6];
  if (parts[7] != "1") name += " ep " + parts[7];
  if (parts[8] != "1") name += " cp " + parts[8];
  if (parts.size() > 9) name += " " + parts[9];
  return {fmt::format("{} {}, {}", model_title(parts[0]), parts[2] == "sft" ? "SFT" : "RL", parts[1]), name};
}

}  // namespace

std::vector<HistoryPoint> read_history(const std::string& path) {
  std::vector<HistoryPoint> points;
  if (!std::filesystem::exists(path)) return points;
  std::istringstream lines(durable::read_file(path));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty()) continue;
    try {
      const Json j = Json::parse(line);
      points.push_back({j.at("identity"), j.at("timestamp"), j.at("commit"), j.at("throughput"), j.at("mfu"),
                        j.at("step_time"), j.at("peak_memory_gib")});
    } catch (const Json::exception& problem) {
      throw bad_input(fmt::format("{}:{} is not a history line", path, number), json_problem(problem, line),
                      "remove the line, or restore the file from git");
    }
  }
  return points;
}

std::vector<HistoryPoint> append_history(const std::string& path, const std::vector<Result>& results) {
  std::vector<HistoryPoint> points = read_history(path);
  std::set<std::pair<std::string, std::string>> known;
  for (const HistoryPoint& p : points) known.emplace(p.identity, p.timestamp);
  std::vector<HistoryPoint> fresh;
  for (const Result& r : results) {
    const RunConfig& c = r.config;
    if (!c.success || !known.emplace(c.identity(), c.timestamp).second) continue;
    fresh.push_back({c.identity(), c.timestamp, c.commit_sha, r.metrics.throughput.mean, r.metrics.mfu.mean,
                     r.metrics.step_time.mean, r.metrics.peak_memory_gib});
  }
  std::stable_sort(fresh.begin(), fresh.end(),
                   [](const auto& a, const auto& b) { return a.timestamp < b.timestamp; });
  if (fresh.empty()) return points;
  points.insert(points.end(), fresh.begin(), fresh.end());
  std::string text;
  for (const HistoryPoint& p : points) text += line_of(p);
  durable::write_file(durable::system_files(), path, text);
  return points;
}

std::string history_svg(const std::vector<HistoryPoint>& points) {
  std::map<std::string, std::map<std::string, monitor::Curve>> panels;
  std::map<std::string, double> first;
  for (const HistoryPoint& p : points) {
    // These have a plot of their own (bench/scaling_page.h).
    if (p.identity.ends_with("|weak") || p.identity.ends_with("|strong")) continue;
    const auto [title, name] = short_names(p.identity);
    monitor::Curve& curve = panels[title][p.identity];
    first.emplace(p.identity, p.throughput);
    curve.name = name;
    curve.x.push_back(static_cast<double>(curve.x.size() + 1));
    curve.y.push_back(p.throughput / first[p.identity]);
  }
  std::vector<monitor::Panel> out;
  for (auto& [title, curves] : panels) {
    monitor::Panel& panel =
        out.emplace_back(monitor::Panel{title, "measurement", "throughput, first = 1", {}});
    for (auto& [identity, curve] : curves) panel.curves.push_back(std::move(curve));
  }
  return monitor::svg("Benchmark history", out);
}

}  // namespace rlcpp::bench
