// The table of `rlcpp bench kernels`, for people and for machines.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench_kernels.h"
#include "app/version.h"
#include "bench/statistics.h"
#include "monitor/console.h"

namespace rlcpp::app {
namespace {

double per_second(double amount, double seconds) {
  return amount / std::max(seconds, 1e-12);
}

// Tokens a second of all ranks at one rank's time of a step.
double throughput(const BenchKernelsConfig& config, double step_seconds) {
  return per_second(static_cast<double>(config.ranks * config.tokens()), step_seconds);
}

}  // namespace

double KernelReport::sum() const {
  double seconds = 0;
  for (const KernelRow& row : rows) seconds += row.step_seconds();
  return seconds;
}

double KernelReport::ratio() const {
  if (steps.empty()) return 0;
  double seconds = 0;
  for (const KernelRow& row : rows) seconds += static_cast<double>(row.calls) * row.time.seconds;
  return per_second(seconds, bench::median(steps));
}

double KernelReport::ratio_against(const BenchKernelsConfig& config) const {
  return other.has_value() ? per_second(other->metrics.throughput.mean, throughput(config, sum())) : 0;
}

std::string kernel_text(const BenchKernelsConfig& config, const KernelReport& report) {
  const double sum = report.sum();
  std::vector<std::vector<std::string>> cells = {
      {"operation", "shape", "calls", "ms each", "ms a step", "TFLOP/s", "GB/s", "%"}};
  for (const KernelRow& row : report.rows) {
    const double each = row.time.seconds;
    const std::string calls =
        row.share < 1 ? fmt::format("{} / {}", row.calls, config.ranks) : fmt::format("{}", row.calls);
    cells.push_back({row.name, row.shape, calls, fmt::format("{:.4f}", 1e3 * each),
                     fmt::format("{:.3f}", 1e3 * row.step_seconds()),
                     row.flops > 0 ? fmt::format("{:.4g}", per_second(row.flops, each) * 1e-12) : "-",
                     fmt::format("{:.4g}", per_second(row.bytes, each) * 1e-9),
                     fmt::format("{:.1f}", 100 * per_second(row.step_seconds(), sum))});
  }
  std::string text = monitor::table(cells);
  text +=
      fmt::format("\nkernel sum {:.3f} ms a step of {} tokens{}: {:.0f} tokens/s; mode {}\n", 1e3 * sum,
                  config.tokens(), config.ranks > 1 ? fmt::format(" on each of {} ranks", config.ranks) : "",
                  throughput(config, sum), report.mode);
  if (!report.steps.empty()) {
    const double step = bench::median(report.steps);
    text += fmt::format(
        "step in this process {:.3f} ms (median of {}), {:.0f} tokens/s: kernel sum / step = {:.3f}\n",
        1e3 * step, report.steps.size(), per_second(static_cast<double>(config.tokens()), step),
        report.ratio());
  }
  if (report.other.has_value()) {
    text += fmt::format("{}: {:.0f} tokens/s, {:.3f} of the kernel sum's ({}, {})\n", *config.against,
                        report.other->metrics.throughput.mean, report.ratio_against(config),
                        report.other->config.commit_sha, report.other->config.timestamp);
  }
  return text;
}

std::string kernel_json(const BenchKernelsConfig& config, const KernelReport& report) {
  nlohmann::ordered_json out;
  out["model_name"] = report.model;
  out["type"] = report.type;
  out["lora_rank"] = report.lora_rank.has_value() ? nlohmann::ordered_json(*report.lora_rank) : nullptr;
  out["device_name"] = report.device_name;
  out["num_gpus"] = config.ranks;
  out["seq_len"] = config.seq_len();
  out["micro_batches"] = config.rows;
  out["micro_batch_size"] = config.micro_batch_size;
  out["ac"] = report.ac;
  out["numeric_mode"] = report.mode;
  out["commit_sha"] = commit_sha();
  out["operations"] = nlohmann::ordered_json::array();
  double flops = 0;
  for (const KernelRow& row : report.rows) {
    flops += static_cast<double>(row.calls) * row.flops;
    out["operations"].push_back({{"name", row.name},
                                 {"shape", row.shape},
                                 {"calls", row.calls},
                                 {"share", row.share},
                                 {"seconds", row.time.seconds},
                                 {"flops", row.flops},
                                 {"bytes", row.bytes},
                                 {"samples", row.time.samples},
                                 {"repeats", row.time.repeats},
                                 {"places", row.time.places}});
  }
  out["flops"] = flops;  // of a rank's step
  out["kernel_sum_seconds"] = report.sum();
  out["tokens"] = config.tokens();
  out["tokens_per_second"] = throughput(config, report.sum());
  out["step_seconds"] = report.steps;
  if (!report.steps.empty()) out["kernel_sum_of_step"] = report.ratio();
  if (report.other.has_value()) {
    out["against"] = {{"file", *config.against},
                      {"tokens_per_second", report.other->metrics.throughput.mean},
                      {"kernel_sum_of_step", report.ratio_against(config)}};
  }
  return out.dump(1) + "\n";
}

}  // namespace rlcpp::app
