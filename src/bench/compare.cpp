#include "bench/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

namespace rlcpp::bench {
namespace {

std::string loose_identity(RunConfig config) {
  config.attention.clear();
  if (config.plain()) config.numeric_mode = "fast";
  return config.identity();
}

std::string row_text(const RunConfig& c) {
  return fmt::format("{} {} {} {}", c.model_name, c.type_text(), c.hardware_text(), c.seq_len);
}

}  // namespace

Difference compare(double now, double before, bool higher_is_better, const Thresholds& thresholds) {
  Difference d;
  if (before == 0 || now == 0) return d;
  d.relative = (now - before) / before;
  d.shown = std::abs(d.relative) >= thresholds.shown;
  d.regression = (higher_is_better ? -d.relative : d.relative) > thresholds.regression;
  return d;
}

Baselines::Baselines(std::vector<Result> results) : results_(std::move(results)) {
  for (std::size_t i = 0; i < results_.size(); ++i) {
    if (!results_[i].config.success) continue;
    exact_.emplace(results_[i].config.identity(), i);
    loose_.emplace(loose_identity(results_[i].config), i);
  }
}

const Result* Baselines::find(const RunConfig& config) const {
  if (const auto found = exact_.find(config.identity()); found != exact_.end())
    return &results_[found->second];
  if (const auto found = loose_.find(loose_identity(config)); found != loose_.end())
    return &results_[found->second];
  return nullptr;
}

std::vector<std::string> regressions(const std::vector<Result>& results, const Baselines& baselines,
                                     const Thresholds& thresholds) {
  std::vector<std::string> lines;
  for (const Result& r : results) {
    const Result* before = baselines.find(r.config);
    if (before == nullptr) continue;
    const std::string row = row_text(r.config);
    if (!r.config.success) {
      lines.push_back(row + " fails now: " + r.config.error_reason);
      continue;
    }
    const auto check = [&](const char* name, double now, double old, bool higher_is_better,
                           const char* unit) {
      const Difference d = compare(now, old, higher_is_better, thresholds);
      if (d.regression)
        lines.push_back(fmt::format("{}: {} {:.4g} -> {:.4g}{} ({:+.1f} %)", row, name, old, now, unit,
                                    100 * d.relative));
    };
    check("MFU", r.metrics.mfu.mean, before->metrics.mfu.mean, true, " %");
    check("throughput", r.metrics.throughput.mean, before->metrics.throughput.mean, true, " tokens/s");
    check("step time", r.metrics.step_time.mean, before->metrics.step_time.mean, false, " s");
  }
  return lines;
}

std::vector<std::string> missing_rows(const std::vector<Result>& results, const Baselines& baselines) {
  std::set<std::string> devices;
  std::set<const Result*> compared;
  for (const Result& r : results) {
    devices.insert(r.config.device_name);
    compared.insert(baselines.find(r.config));
  }
  std::vector<std::string> lines;
  for (const Result& before : baselines.results()) {
    const RunConfig& c = before.config;
    if (!c.success || !before.extension || !devices.contains(c.device_name) || compared.contains(&before))
      continue;
    lines.push_back(fmt::format("{} {} {}", row_text(c), c.ac, c.numeric_mode));
  }
  return lines;
}

}  // namespace rlcpp::bench
