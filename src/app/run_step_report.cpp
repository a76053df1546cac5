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

void add_step_metrics(const StepReport& step, Checkpoints* checkpoints, const std::string& directory,
                      monitor::Metrics& metrics) {
  metrics.set("time/step", step.interval_seconds);
  metrics.set("time/forward_backward", step.train_seconds);
  metrics.set("time/save_ckpt", checkpoints != nullptr ? checkpoints->take_stall() : 0);
  metrics.set("time/ckpt_write", checkpoints != nullptr ? checkpoints->take_write() : 0);
  metrics.set("perf/throughput", step.rate());
  metrics.set("perf/throughput_per_gpu", step.rate() / step.ranks);
  if (std::isfinite(step.mfu())) metrics.set("perf/mfu", 100 * step.mfu());
  metrics.set("perf/peak_memory", static_cast<double>(step.peak_memory_bytes) / 0x1p30);
  if (checkpoints != nullptr && checkpoints->enabled()) add_disk_metrics(directory, metrics);
}

bool warn_if_skipped(const StepReport& step, Logger& log) {
  if (!step.result.skipped) return false;
  log.warn(fmt::format("{}  skipped: loss {}, gradient norm {}", step_counter(step.step, step.max_steps),
                       number_text(step.result.loss), number_text(step.result.grad_norm)));
  return true;
}

void log_step(const StepReport& step, const monitor::Eta& eta, Logger& log) {
  if (warn_if_skipped(step, log)) return;
  monitor::TrainLine line;
  line.step = step.step;
  line.max_steps = step.max_steps;
  line.loss = step.result.loss;
  line.grad_norm = step.result.grad_norm;
  line.lr = step.result.lr;
  line.tokens_per_second = step.rate();
  line.mfu = step.mfu();
  line.memory_bytes = static_cast<double>(step.peak_memory_bytes);
  line.seconds = step.interval_seconds;
  line.eta = step.max_steps < 0 ? "-" : eta.text(step.max_steps - step.step);
  log.success(monitor::step_line(line));
}

}  // namespace rlcpp::app
