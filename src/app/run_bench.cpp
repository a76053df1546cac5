#include "app/run_bench.h"

#include <fmt/format.h>

#include "app/run_model.h"
#include "app/version.h"
#include "base/durable.h"
#include "base/readable.h"
#include "monitor/console.h"
#include "monitor/step_line.h"
#include "ops/context.h"

namespace rlcpp::app {
namespace {

bench::ModelShape shape_of(const model::ModelConfig& config) {
  bench::ModelShape shape;
  shape.layers = config.num_layers;
  shape.hidden = config.hidden_size;
  shape.heads = config.num_heads;
  shape.head_dim = config.head_dim;
  shape.matmul_parameters = config.matmul_parameters();
  shape.adapter_parameters = model::adapter_parameters(config);
  return shape;
}

}  // namespace

std::string ac_text(const ModelSection& model) {
  switch (model.recompute()) {
    case model::Recompute::kNone:
      return "None";
    case model::Recompute::kSelective:
      return "Selective";
    case model::Recompute::kAttention:
      return "Attention";
    case model::Recompute::kFull:
      return "Recompute";
    case model::Recompute::kOffload:
      return "Offload";
    case model::Recompute::kOffloadAttention:
      return "OffloadAttention";
  }
  return "None";
}

std::string mode_text(const ModelSection& model, const RunSection& run) {
  if (run.deterministic) return model.quantization.value_or(run.numeric_mode);
  return model.quantization.has_value() ? *model.quantization + "-unordered" : "unordered";
}

double reference_mfu(const model::ModelConfig& config, Device device, std::int64_t seq_len,
                     double tokens_per_second) {
  if (device.kind == DeviceKind::kCpu) return monitor::kMissing;
  bool known = false;
  const double peak = bench::gpu_peak_flops(device_label(device), &known);
  if (!known) return monitor::kMissing;
  return tokens_per_second * bench::reference_flops_per_token(shape_of(config), seq_len) / peak;
}

BenchRun::BenchRun(BenchSection section, BenchIdentity identity)
    : section_(std::move(section)), identity_(std::move(identity)) {
  if (section_.output_json) require_writable_file(*section_.output_json, "bench.output_json");
}

void BenchRun::start(const TrainingFacts& run) {
  const model::ModelConfig& model = run.model.config;
  const Device device = device_ = run.device;
  ranks_here_ = run.ranks_here;
  bench::RecorderFacts facts;
  facts.config.model_name = identity_.model_name;
  facts.config.type = identity_.type;
  facts.config.num_gpus = run.ranks;
  if (model.adapters.any()) facts.config.lora_rank = model.adapters.rank;
  facts.config.device_name = device_label(device);
  facts.config.seq_len = identity_.seq_len;
  facts.config.ac = identity_.ac;
  // The CPU adds in one order in any case.
  if (device.kind == DeviceKind::kCpu) {
    if (identity_.numeric_mode == "unordered") identity_.numeric_mode.clear();
    if (identity_.numeric_mode == "fp8-unordered") identity_.numeric_mode = "fp8";
  }
  const bool asked = !identity_.numeric_mode.empty() && identity_.numeric_mode != "auto";
  facts.config.numeric_mode =
      asked ? identity_.numeric_mode : std::string(name_of(ops::default_mode(device)));
  facts.config.publication = identity_.publication;
  facts.config.memory_limit = identity_.memory_limit;
  facts.config.micro_batches = identity_.micro_batches / run.ranks;
  facts.config.commit_sha = commit_sha();
  facts.shape = shape_of(model);
  facts.planned_bytes = run.planned_bytes;
  facts.device_bytes = memory_total_bytes(device);
  facts.versions = {
      {"rlcpp", version() + " " + commit_text()}, {"cuda", cuda::version()}, {"cpu", cpu_name()}};
  recorder_ = std::make_unique<bench::Recorder>(std::move(facts));
}

TrainingHooks BenchRun::hooks() {
  return {[this](const TrainingFacts& f) { start(f); },
          [this](const TrainedStep& step) {
            recorder_->step({step.step_seconds, step.interval_seconds, step.row_tokens, step.document_lengths,
                             step.result.loss, step.result.grad_norm, step.peak_memory_bytes});
          }};
}

void BenchRun::finish(bool json) {
  if (device_.kind == DeviceKind::kCuda) {
    bool known = false;
    const double peak = bench::gpu_peak_flops(device_label(device_), &known);
    recorder_->set_peak(peak, known ? "datasheet, bf16" : "assumed, bf16: the GPU is not in the table");
  } else {
    // Ranks of one machine share its cores, so that all of them together have its peak once.
    const bench::CpuPeak machine = bench::measure_machine_peak();
    const std::string among = ranks_here_ > 1 ? fmt::format(" among {} ranks", ranks_here_) : "";
    recorder_->set_peak(machine.flops / ranks_here_,
                        fmt::format("measured, {} cores{}, f32", machine.cores, among));
  }
  const bench::Result result = recorder_->result();
  if (section_.output_json) {
    durable::write_file(durable::system_files(), *section_.output_json, bench::to_json(result));
  }
  if (json) {
    fmt::print("{}", bench::to_json(result));
    return;
  }
  const bench::Extension& more = *result.extension;
  fmt::print(
      "{}\ntrue MFU {:.2f}% of {:.2f} TFLOP/s ({}); planned {}; first step done {:.2f} s after the "
      "start; mode {}\n",
      recorder_->table(), more.true_mfu.mean, more.peak_tflops, more.peak_source,
      monitor::gib(more.planned_memory_gib * 0x1p30), more.first_step_seconds, result.config.numeric_mode);
}

}  // namespace rlcpp::app
