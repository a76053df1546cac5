// The reference builds its schedules from torch's LinearLR, CosineAnnealingLR and SequentialLR (prime-rl
// trainer/scheduler.py, January 2026); these are their closed forms.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "base/error.h"
#include "train/schedule.h"

namespace rlcpp::train {

void validate_schedule(const SchedulerConfig& config, double peak, std::int64_t max_steps) {
  if (config.min_lr > peak) {
    throw bad_input("scheduler.min_lr is larger than optim.lr", fmt::format("{} > {}", config.min_lr, peak),
                    "lower scheduler.min_lr");
  }
  if (config.type == "constant") return;
  const bool decays = config.type == "cosine" || config.decay_steps > 0;
  if (decays && max_steps < 0) {
    throw bad_input(
        fmt::format("scheduler.type = \"{}\" decays towards the end of the run, and max_steps is not set",
                    config.type),
        "the end of the run is unknown", "set max_steps, or use scheduler.type = \"constant\"");
  }
  if (config.type == "linear" && config.warmup_steps == 0 && config.decay_steps == 0) {
    throw bad_input("scheduler.type = \"linear\" has neither warm-up nor decay",
                    "warmup_steps and decay_steps are 0",
                    "set one of them, or use scheduler.type = \"constant\"");
  }
  const std::int64_t phases = config.warmup_steps + (config.type == "linear" ? config.decay_steps : 0);
  if (decays && phases > max_steps) {
    throw bad_input("the phases of the scheduler are longer than the run",
                    fmt::format("warmup_steps {} + decay_steps {} > max_steps {}", config.warmup_steps,
                                config.type == "linear" ? config.decay_steps : 0, max_steps),
                    "shorten scheduler.warmup_steps or scheduler.decay_steps");
  }
}

double learning_rate(const SchedulerConfig& config, double peak, std::int64_t step, std::int64_t max_steps) {
  if (config.type == "constant" || peak == 0) return peak;
  const double floor = config.min_lr > 0 ? config.min_lr / peak : 1e-8;
  if (step < config.warmup_steps) {
    return peak *
           (floor + (1.0 - floor) * static_cast<double>(step) / static_cast<double>(config.warmup_steps));
  }
  if (config.type == "cosine") {
    const std::int64_t length = max_steps - config.warmup_steps;
    if (length <= 0) return peak;
    const double progress =
        static_cast<double>(std::min(step - config.warmup_steps, length)) / static_cast<double>(length);
    return config.min_lr + (peak - config.min_lr) * (1.0 + std::cos(std::numbers::pi * progress)) / 2.0;
  }
  if (config.decay_steps <= 0) return peak;
  const std::int64_t past = step - (max_steps - config.decay_steps);
  // The decay reaches its floor at the last step of the run: decay_steps - 1 increments. A decay of one step
  // has none.
  const std::int64_t increments = config.decay_steps - 1;
  if (past <= 0 || increments == 0) return peak;
  return peak * (1.0 + (floor - 1.0) * static_cast<double>(std::min(past, increments)) /
                           static_cast<double>(increments));
}

}  // namespace rlcpp::train
