// The section "Scaling" of `rlcpp report`: which rows it has, and what it is told of models and links.
#pragma once

#include <string>
#include <vector>

#include "base/config/schema.h"
#include "bench/scaling_page.h"

namespace rlcpp::app {

struct ScalingInput {
  std::string matrix = "benchmarks/matrix-scaling.toml";
  std::string collectives = "benchmarks/collectives";
  void describe(config::Schema& s);
};

struct ScalingReport {
  std::string device_name;
  bench::Links links;
  std::vector<bench::ScalingLine> lines;  // empty: there is no such matrix, or none of its rows has a scaling
  std::string section(const std::string& plot) const {
    return bench::render_scaling(lines, device_name, links, plot);
  }
};

// Of the device that has rows of a scaling among `results` (the newest of them), else of the one whose
// collectives were measured.
ScalingReport report_scaling(const ScalingInput& input, const std::vector<bench::Result>& results);

}  // namespace rlcpp::app
