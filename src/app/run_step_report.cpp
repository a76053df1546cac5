#include "app/run_step_report.h"

#include <cmath>

#include <fmt/format.h>

#include "app/run_console.h"
#include "app/run_disk.h"

namespace rlcpp::app {
namespace {

// The sign of a NaN says nothing.
std::string number_text(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{}", value);
}

}  // namespace

std::vector<std::int64_t> document_lengths(const std::vector<data::MicroBatch>& rows) {
  std::vector<std::int64_t> lengths;
  for (const data::MicroBatch& row : rows) {
    for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d)
      lengths.push_back(row.cu_seqlens[d + 1] - row.cu_seqlens[d]);
  }
  return lengths;
}

void StepReports::add_metrics(const TrainedStep& step, Checkpoints* checkpoints, const std::string& directory,
                              monitor::Metrics& metrics) const {
  metrics.set("time/step", step.interval_seconds);
  metrics.set("time/forward_backward", step.step_seconds);
  metrics.set("time/save_ckpt", checkpoints != nullptr ? checkpoints->take_stall() : 0);
  metrics.set("time/ckpt_write", checkpoints != nullptr ? checkpoints->take_write() : 0);
  metrics.set("perf/throughput", step.rate());
  metrics.set("perf/throughput_per_gpu", step.rate() / ranks);
  if (const double mfu = step.rate() * mfu_of_rate; std::isfinite(mfu)) metrics.set("perf/mfu", 100 * mfu);
  metrics.set("perf/peak_memory", static_cast<double>(step.peak_memory_bytes) / 0x1p30);
  if (checkpoints != nullptr && checkpoints->enabled()) add_disk_metrics(directory, metrics);
}

bool StepReports::warn_if_skipped(const TrainedStep& step, Logger& log) const {
  if (!step.result.skipped) return false;
  log.warn(fmt::format("{}  skipped: loss {}, gradient norm {}", step_counter(step.step, max_steps),
                       number_text(step.result.loss), number_text(step.result.grad_norm)));
  return true;
}

void StepReports::log_line(const TrainedStep& step, const monitor::Eta& eta, Logger& log) const {
  if (warn_if_skipped(step, log)) return;
  monitor::TrainLine line;
  line.step = step.step;
  line.max_steps = max_steps;
  line.loss = step.result.loss;
  line.grad_norm = step.result.grad_norm;
  line.lr = step.result.lr;
  line.tokens_per_second = step.rate();
  line.mfu = step.rate() * mfu_of_rate;
  line.memory_bytes = static_cast<double>(step.peak_memory_bytes);
  line.seconds = step.interval_seconds;
  line.eta = max_steps < 0 ? "-" : eta.text(max_steps - step.step);
  log.success(monitor::step_line(line));
}

}  // namespace rlcpp::app
