// Curves of a run out of its metrics.jsonl, so that a resumed run shows all of its steps.
#pragma once

#include <string>
#include <vector>

#include "monitor/console.h"

namespace rlcpp::app {

// One curve a name, x the step; lines of other producers, values that are null or absent, and lines that are
// no JSON are passed over. A missing file gives empty curves.
std::vector<monitor::Curve> read_curves(const std::string& run_dir, const std::string& producer,
                                        const std::vector<std::string>& names);

// False: a plot of them would be empty.
bool any_point(const std::vector<monitor::Curve>& curves);

}  // namespace rlcpp::app
