#include "bench/compare.h"

#include <fmt/format.h>

#include <cmath>

namespace rlcpp::bench {
namespace {

std::string loose_identity(RunConfig config) {
  config.attention.clear();
  config.numeric_mode = "fast";
  return config.identity();
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
    const std::string row = fmt::format("{} {} {} {}", r.config.model_name, r.config.type_text(),
                                        r.config.hardware_text(), r.config.seq_len);
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

}  // namespace rlcpp::bench
