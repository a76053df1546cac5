// The section "Scaling" of the page: efficiency of 1, 2, 4 and more GPUs, predicted and measured, as tables
// and as a plot.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/matrix.h"
#include "bench/scaling.h"

namespace rlcpp::bench {

// Tokens a second of n GPUs over n times those of one, in rows of the same scaling.
struct ScalingCell {
  int gpus = 1;
  std::optional<double> tokens_per_second, efficiency;  // measured
  std::optional<double> predicted;                      // efficiency
};

// The rows of one table line: all numbers of GPUs of a model, type, length and policy.
struct ScalingLine {
  RunConfig config;                // what the rows share: num_gpus and micro_batches are those of the first
  std::vector<ScalingCell> cells;  // by GPUs, ascending
  int calibrated_on = 0;           // GPUs of the measured row that the prediction starts from; 0: none
};

// The shape of a model with adapters of a rank or without; nothing if it is not known here.
using ScaledModels =
    std::function<std::optional<ScaledModel>(const std::string& model, std::optional<std::int64_t> rank)>;

// A line for each kind of row that `rows` has with a scaling, in their order. A prediction starts from the
// measured row of the fewest GPUs of the kind (of the same scaling, or of none), and takes ZeRO at level 1.
// Results of other devices than `device_name` do not count.
std::vector<ScalingLine> scaling_lines(const std::vector<PlannedRow>& rows,
                                       const std::vector<Result>& results, const ScaledModels& models,
                                       const Links& links, const std::string& device_name);

// Markdown, the heading included; empty without lines. `plot`: path of the plot relative to the page.
std::string render_scaling(const std::vector<ScalingLine>& lines, const std::string& device_name,
                           const Links& links, const std::string& plot);

// A panel a model and scaling: efficiency in per cent by GPUs, for each type a predicted curve and a measured
// one.
std::string scaling_svg(const std::vector<ScalingLine>& lines);

}  // namespace rlcpp::bench
