#include "bench/collectives.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "bench/json_files.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

// Weighted least squares of seconds = latency + x / bandwidth, weights 1 / seconds^2.
LinkFit fit_of(const std::vector<std::pair<double, double>>& points) {
  double w = 0, wx = 0, wxx = 0, wt = 0, wxt = 0;
  for (const auto& [x, seconds] : points) {
    const double weight = 1 / (seconds * seconds);
    w += weight;
    wx += weight * x;
    wxx += weight * x * x;
    wt += weight * seconds;
    wxt += weight * x * seconds;
  }
  const double determinant = w * wxx - wx * wx;
  LinkFit fit;
  // One size alone, or figures that would give a negative latency: all of the time is bandwidth.
  if (determinant > 1e-9 * w * wxx) fit.latency = (wt * wxx - wx * wxt) / determinant;
  if (!(fit.latency > 0)) {
    fit.latency = 0;
    fit.bandwidth = wxx / wxt;
  } else {
    fit.bandwidth = determinant / (w * wxt - wx * wt);
  }
  return fit;
}

}  // namespace

CollectiveFile collectives_from_json(const std::string& text, const std::string& where) {
  CollectiveFile file;
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    file.device_name = whole.at("device_name");
    file.carrier = whole.at("carrier");
    file.date = whole.at("date");
    file.num_gpus = whole_number<int>(whole.at("num_gpus"));
    for (const Json& f : whole.at("figures")) {
      file.figures.push_back({f.at("collective"), f.at("type"), f.at("bytes"), f.at("seconds")});
    }
  } catch (const Json::exception& problem) {
    throw bad_input(where + " does not have the figures of collectives", json_problem(problem, text),
                    "bench_collectives --json FILE writes such a file");
  }
  const auto wrong = [](const CollectiveFigure& f) {
    return !(f.bytes > 0) || !(f.seconds > 0) ||
           (f.collective != "all_reduce" && f.collective != "reduce_scatter" && f.collective != "all_gather");
  };
  if (file.num_gpus < 2 || std::any_of(file.figures.begin(), file.figures.end(), wrong)) {
    throw bad_input(where + " has figures that no collective can have",
                    "it needs two GPUs or more, known names, and bytes and seconds above 0",
                    "bench_collectives --json FILE writes such a file");
  }
  return file;
}

std::vector<CollectiveFile> read_collectives(const std::string& path) {
  const std::vector<std::string> names = json_files(path);
  std::vector<CollectiveFile> files;
  files.reserve(names.size());
  for (const std::string& name : names)
    files.push_back(collectives_from_json(durable::read_file(name), name));
  return files;
}

double bus_share(const std::string& collective, int ranks) {
  const double share = static_cast<double>(ranks - 1) / ranks;
  return collective == "all_reduce" ? 2 * share : share;
}

Links::Links(const std::vector<CollectiveFile>& files, const std::string& device_name) {
  std::map<std::pair<std::string, int>, std::vector<std::pair<double, double>>> points;
  for (const CollectiveFile& file : files) {
    if (file.device_name != device_name) continue;
    for (const CollectiveFigure& f : file.figures) {
      points[{f.collective, file.num_gpus}].emplace_back(f.bytes * bus_share(f.collective, file.num_gpus),
                                                         f.seconds);
    }
  }
  for (const auto& [key, list] : points) fits_[key] = fit_of(list);
}

bool Links::measured(int ranks) const {
  return std::any_of(fits_.begin(), fits_.end(), [&](const auto& fit) { return fit.first.second == ranks; });
}

double Links::seconds(const std::string& collective, double bytes, int ranks) const {
  if (ranks <= 1) return 0;
  const LinkFit* nearest = nullptr;
  int distance = 0;
  for (const auto& [key, fit] : fits_) {  // in ascending order of GPUs
    const int away = std::abs(key.second - ranks);
    if (key.first == collective && (nearest == nullptr || away < distance)) {
      nearest = &fit;
      distance = away;
    }
  }
  if (nearest == nullptr) {
    throw runtime_failure("the time of " + collective + " is not known", "no file has its figures",
                          "tools/scaling.sh measures it");
  }
  return nearest->latency + bytes * bus_share(collective, ranks) / nearest->bandwidth;
}

}  // namespace rlcpp::bench
