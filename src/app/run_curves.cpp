#include "app/run_curves.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

namespace rlcpp::app {

std::vector<monitor::Curve> read_curves(const std::string& run_dir, const std::string& producer,
                                        const std::vector<std::string>& names) {
  std::vector<monitor::Curve> curves(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) curves[i].name = names[i];
  std::ifstream file(run_dir + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number()) continue;
    if (const auto by = json.find("producer"); by == json.end() || *by != producer) continue;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto value = json.find(names[i]);
      if (value == json.end() || !value->is_number()) continue;
      curves[i].x.push_back(json["step"].get<double>());
      curves[i].y.push_back(value->get<double>());
    }
  }
  return curves;
}

bool any_point(const std::vector<monitor::Curve>& curves) {
  return std::any_of(curves.begin(), curves.end(), [](const monitor::Curve& curve) {
    return std::any_of(curve.y.begin(), curve.y.end(), [](double value) { return std::isfinite(value); });
  });
}

}  // namespace rlcpp::app
