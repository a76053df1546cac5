#include "app/run_training.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::app {

void TrainingConfig::describe_training(config::Schema& s, std::string_view bench_doc) {
  s.section("model", model, "The model and how it is computed.");
  s.section("optim", optim, "The optimizer.");
  s.section("scheduler", scheduler, "The learning-rate schedule.");
  s.section("log", log, "The log.");
  s.section("dist", dist, "Several ranks: GPUs of one machine or of many, or groups of CPU threads.");
  s.section("bench", bench, bench_doc);
  s.field("max_steps", max_steps, "Optimizer steps of the run; None: until stopped by a signal. --bench: 4.")
      .at_least(1)
      .in("steps");
  run.describe(s);
  watch.describe_trainer(s);
  refuse_reference_keys(s);
}

train::TrainerOptions trainer_options(const ModelSection& model, const train::OptimConfig& optim,
                                      const train::SchedulerConfig& scheduler, const RunSection& run,
                                      std::optional<std::int64_t> max_steps, std::int64_t max_tokens) {
  train::TrainerOptions out;
  out.optim = optim;
  out.scheduler = scheduler;
  out.max_steps = max_steps.value_or(-1);
  out.max_tokens = max_tokens;
  out.head_chunk = model.head_chunk;
  out.recompute = model.recompute();
  out.fp8 = model.quantization.has_value();
  out.any_order = !run.deterministic;
  if (model.ac_offloading.has_value()) out.inflight_activations = model.ac_offloading->max_inflight;
  out.optimizer_on_host = model.optim_cpu_offload;
  out.seed = static_cast<std::uint64_t>(run.seed);
  out.max_nonfinite_steps = run.max_nonfinite_steps;
  return out;
}

void require_shared_arithmetic(const ModelSection& model, ops::NumericMode mode, const char* key) {
  if (!model.quantization.has_value() || mode != ops::NumericMode::kExact) return;
  throw bad_input(
      fmt::format("{}.quantization is {}, and this run is in mode exact", key, *model.quantization),
      "in mode exact trainer and engine compute the same bits, and the engine has no FP8",
      fmt::format("remove {}.quantization, or train on a GPU with numeric_mode fast", key));
}

bool depends_on_length(const train::SchedulerConfig& scheduler) {
  return scheduler.type == "cosine" || (scheduler.type == "linear" && scheduler.decay_steps > 0);
}

RunSection decisive(const RunSection& run) {
  RunSection out;
  out.seed = run.seed;
  out.deterministic = run.deterministic;
  return out;
}

void require_clean_or_resume(const RunSection& run, const std::optional<CkptSection>& ckpt) {
  if (!run.clean || !ckpt.has_value() || !ckpt->resume_step.has_value()) return;
  throw bad_input("clean and ckpt.resume_step contradict each other",
                  "one removes what the other continues from", "remove one of them");
}

}  // namespace rlcpp::app
