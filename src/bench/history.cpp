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
      throw bad_input(fmt::format("{}:{} is not a history line", path, number), problem.what(),
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
  std::map<std::string, monitor::Curve> curves;
  std::map<std::string, double> first;
  for (const HistoryPoint& p : points) {
    monitor::Curve& curve = curves[p.identity];
    first.emplace(p.identity, p.throughput);
    curve.name = p.identity;
    curve.x.push_back(static_cast<double>(curve.x.size() + 1));
    curve.y.push_back(p.throughput / first[p.identity]);
  }
  monitor::Panel panel{"Throughput against the first measurement of each row", "measurement", "ratio", {}};
  for (auto& [identity, curve] : curves) panel.curves.push_back(std::move(curve));
  return monitor::svg("Benchmark history", {panel});
}

}  // namespace rlcpp::bench
