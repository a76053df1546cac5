#include "monitor/prometheus.h"

#include <fmt/format.h>

#include <cmath>

namespace rlcpp::monitor {
namespace {

struct Source {
  const char* gauge;
  const char* metric;
  const char* help;
};
constexpr Source kSources[] = {
    {"trainer_loss", "loss/mean", "Loss of the newest step"},
    {"trainer_throughput_tokens_per_sec", "perf/throughput", "Tokens per second of the newest step"},
    {"trainer_grad_norm", "optim/grad_norm", "Norm of the gradient before clipping"},
    {"trainer_peak_memory_gib", "perf/peak_memory", "Largest memory so far, in GiB"},
    {"trainer_learning_rate", "optim/lr", "Learning rate of the newest step"},
    {"trainer_mfu_percent", "perf/mfu", "Share of the device's peak arithmetic, in percent"},
    {"trainer_entropy", "entropy/mean", "Mean entropy of the trained tokens"},
    {"trainer_mismatch_kl", "mismatch_kl/mean", "Mean KL between sampler and trainer"},
};

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

void add(std::string& text, const char* name, const char* help, double value) {
  text += fmt::format("# HELP {} {}\n# TYPE {} gauge\n{} {}\n", name, help, name, name, number(value));
}

}  // namespace

std::string trainer_gauges(std::int64_t step, double unix_seconds, const Metrics& metrics) {
  std::string text;
  add(text, "trainer_step", "Steps done", static_cast<double>(step));
  add(text, "trainer_last_step_timestamp_seconds", "When the newest step ended", unix_seconds);
  for (const Source& source : kSources) {
    if (metrics.has(source.metric)) add(text, source.gauge, source.help, metrics.get(source.metric));
  }
  return text;
}

}  // namespace rlcpp::monitor
