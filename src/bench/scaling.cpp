#include "bench/scaling.h"

#include <algorithm>
#include <cmath>

namespace rlcpp::bench {
namespace {

constexpr double kF32 = 4, kBf16 = 2;

// Bytes of memory a parameter whose masters and moments this GPU updates: the gradient is read for the norm
// and for the update, master and two f32 moments are read and written, the bf16 weight is written.
constexpr double kUpdate = 2 * kF32 + 3 * 2 * kF32 + kBf16;

double slowdown(const ScaledRun& run, const ScalingConstants& constants) {
  return 1 + constants.spread * expected_largest(run.gpus);
}

// Everything but the rows. `backward`: seconds of the last row's backward, which the sums of level 1 are
// behind.
StepTime beside_rows(const ScaledModel& model, const ScaledRun& run, const Links& links,
                     const ScalingConstants& constants, double backward) {
  StepTime t;
  const int n = run.gpus;
  const auto memory = [&](double bytes) { return bytes / constants.memory_bandwidth; };
  if (n > 1) t.exchange = constants.exchange;
  if (model.adapter_parameters > 0) {
    t.optimizer = memory(kUpdate * model.adapter_parameters);
    t.waited = links.seconds("all_reduce", kF32 * model.adapter_parameters, n);
    return t;
  }
  const auto layers = static_cast<double>(model.layers);
  const double in_layers = layers * model.layer_parameters, rows = run.rows;
  t.optimizer = memory(kUpdate * model.parameters() / n);
  if (n == 1) {
    t.optimizer += memory(kF32 * model.parameters());  // gradients are set to zero
    return t;
  }
  const auto scatter = [&](double elements) { return links.seconds("reduce_scatter", kF32 * elements, n); };
  const auto gather = [&](double elements) { return links.seconds("all_gather", kBf16 * elements, n); };
  const double sums = layers * scatter(model.layer_parameters),
               weights = layers * gather(model.layer_parameters);
  // Of embedding and head always once a step, when there is nothing left to compute.
  t.waited = scatter(model.other_parameters) + gather(model.other_parameters);
  double beside = 0;
  if (run.zero == 1) {
    t.optimizer += memory(kF32 * model.parameters());
    // One layer behind its last backward each; what the backward is too short for is waited for.
    beside = std::min(sums, backward);
    t.waited += weights + (sums - beside);
  } else {
    t.optimizer += memory(kF32 * (model.other_parameters + in_layers / n));
    // Each row: the two buffers of layers are set to zero, and the part of each sum is added (two read, one
    // written).
    t.optimizer += rows * memory(kF32 * in_layers + 3 * kF32 * in_layers / n);
    beside = rows * sums;
    if (run.zero == 2) {
      t.waited += weights;
    } else {
      // Forward and backward gather each layer, from bf16 that is made of the masters.
      beside += rows * 2 * weights;
      t.optimizer += rows * 2 * memory((kF32 + kBf16) * in_layers / n);
    }
  }
  t.beside = constants.interference * beside;
  return t;
}

// Forward 1, backward 2; with recomputation more, which is on the safe side.
double backward_of(double row_seconds) {
  return std::max(0.0, row_seconds) * 2 / 3;
}

}  // namespace

double expected_largest(int n) {
  // The integral of 1 - F^n over x > 0 less that of F^n over x < 0, F the normal distribution, by the
  // trapezoidal rule, which is exact here to all digits shown.
  constexpr int kPoints = 9 * 256;
  constexpr double kStep = 1.0 / 256;
  double sum = 0;
  for (int i = 0; i <= kPoints; ++i) {
    const double x = i * kStep;
    const double above = std::erfc(x / std::sqrt(2.0)) / 2;  // 1 - F(x) = F(-x)
    const double term = -std::expm1(n * std::log1p(-above)) - std::pow(above, n);
    sum += i == 0 ? term / 2 : term;
  }
  return sum * kStep;
}

StepTime predict_step(const ScaledModel& model, const ScaledRun& run, const Links& links,
                      const ScalingConstants& constants, double row_seconds) {
  StepTime t = beside_rows(model, run, links, constants, backward_of(row_seconds));
  t.rows = run.rows * row_seconds * slowdown(run, constants);
  return t;
}

double row_seconds_of(const ScaledModel& model, const ScaledRun& run, const Links& links,
                      const ScalingConstants& constants, double step_seconds) {
  const double rows = run.rows * slowdown(run, constants);
  // What is beside the rows depends on them only where sums do not fit behind a backward; the iteration then
  // halves its error each time at least.
  double row = step_seconds / rows;
  for (int i = 0; i < 60; ++i) {
    row = (step_seconds - beside_rows(model, run, links, constants, backward_of(row)).seconds()) / rows;
  }
  return row;
}

}  // namespace rlcpp::bench
