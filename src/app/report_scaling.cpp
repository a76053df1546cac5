#include "app/report_scaling.h"

#include <filesystem>

#include "base/config/load.h"
#include "model/adapters.h"
#include "model/config.h"
#include "model/weights.h"

namespace rlcpp::app {
namespace {

std::optional<bench::ScaledModel> scaled_model(const std::string& name, std::optional<std::int64_t> rank) {
  std::optional<model::ModelConfig> config = model::builtin_config(name);
  if (!config) return std::nullopt;
  bench::ScaledModel out;
  out.layers = config->num_layers;
  double in_layers = 0;
  for (const model::ParameterInfo& parameter : model::parameter_list(*config)) {
    double size = 1;
    for (const std::int64_t extent : parameter.shape) size *= static_cast<double>(extent);
    (parameter.layer < 0 ? out.other_parameters : in_layers) += size;
  }
  out.layer_parameters = in_layers / static_cast<double>(config->num_layers);
  if (rank) {
    config->adapters.rank = *rank;
    config->adapters.targets.fill(true);  // as --model.lora has it unless told otherwise
    out.adapter_parameters = static_cast<double>(model::adapter_parameters(*config));
  }
  return out;
}

std::string device_of(const std::vector<bench::Result>& results,
                      const std::vector<bench::CollectiveFile>& files) {
  const bench::Result* newest = nullptr;
  for (const bench::Result& r : results) {
    if (r.config.scaling.empty() || !r.config.success) continue;
    if (newest == nullptr || newest->config.timestamp < r.config.timestamp) newest = &r;
  }
  if (newest != nullptr) return newest->config.device_name;
  return files.empty() ? "" : files.back().device_name;
}

}  // namespace

void ScalingInput::describe(config::Schema& s) {
  s.field("scaling_matrix", matrix,
          "The matrix whose rows of a scaling the section Scaling has, measured or not; it may be absent.");
  s.field("collectives", collectives,
          "Directory of measured collectives (*.json), which predictions start from; it may be absent.");
}

ScalingReport report_scaling(const ScalingInput& input, const std::vector<bench::Result>& results) {
  const std::vector<bench::CollectiveFile> files = bench::read_collectives(input.collectives);
  const std::string device = device_of(results, files);
  ScalingReport report{device, bench::Links(files, device), {}};
  if (device.empty() || !std::filesystem::exists(input.matrix)) return report;
  bench::Matrix matrix;
  config::load(config::describer(matrix), {"@", input.matrix});
  report.lines = bench::scaling_lines(bench::plan_rows(matrix), results, scaled_model, report.links, device);
  return report;
}

}  // namespace rlcpp::app
