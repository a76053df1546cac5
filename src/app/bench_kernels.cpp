#include "app/bench_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

#include "app/command.h"
#include "app/run_bench.h"
#include "app/run_clock.h"
#include "app/run_start.h"
#include "app/run_training.h"
#include "app/version.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/signals.h"
#include "data/fake_rl.h"
#include "data/source.h"
#include "monitor/console.h"
#include "ops/calls.h"
#include "ops/matmul.h"

namespace rlcpp::app {

void BenchKernelsConfig::describe(config::Schema& s) {
  s.section("model", model, "The model and how it is computed; its weights are random.");
  s.section("optim", optim, "The optimizer.");
  s.field("type", type, "Which trainer's step: sft (cross-entropy) or rl (the policy loss).")
      .one_of({"sft", "rl"});
  s.field("rows", rows, "Rows of model.seq_len tokens in a step, of one rank.").at_least(1).at_most(65536);
  s.field("micro_batch_size", micro_batch_size, "Rows that are computed together.").at_least(1).in("rows");
  s.field("ranks", ranks,
          "Ranks of the run that is meant: of several, each does its part of the optimizer's work. This "
          "command is one of them, and measures no collective.")
      .at_least(1)
      .at_most(4096);
  s.field("device", device, "Where to run: auto, cpu, cuda or cuda:N.");
  s.field("memory_limit", memory_limit, "As memory_limit of a run.");
  s.field("threads", threads, "CPU threads; 0: one a core.").at_least(0).at_most(1024);
  s.field("steps", steps, "Whole steps to measure first, beside the sum of their operations; 0: none.")
      .at_least(0)
      .at_most(1000);
  s.field("against", against,
          "The result of a run of the same row (bench.output_json of rlcpp sft or trainer) to put beside the "
          "sum.");
  s.field("seconds", seconds, "For how long each operation is repeated; three times at least.")
      .above(0)
      .at_most(3600)
      .in("seconds");
  s.field("timeout", timeout, "What one operation may take in all before the command gives up.")
      .at_least(1)
      .at_most(86400)
      .in("seconds");
}

void BenchKernelsConfig::validate() const {
  if (ranks > 1 && optim.type == "muon") {
    throw bad_input("ranks are for optimizers that cut every parameter",
                    "Muon's ranks each do the products of whole matrices",
                    "leave ranks out, or set optim.type to another");
  }
  model.recompute();
  if (memory_limit.has_value()) parse_bytes(*memory_limit, "memory_limit");
  if (rows % micro_batch_size != 0) {
    throw bad_input(fmt::format("{} rows are not a multiple of micro_batch_size {}", rows, micro_batch_size),
                    {}, "change rows or micro_batch_size");
  }
}

namespace {

// Beside the operands: several times the largest cache of a device, so that calls on small operands find none
// of them there.
constexpr std::size_t kRotationOfGpu = std::size_t{512} << 20, kRotationOfCpu = std::size_t{64} << 20;

// `each` rows, one document a row, as one micro-batch.
std::vector<data::MicroBatch> rows_together(const std::vector<data::MicroBatch>& rows, std::size_t each) {
  std::vector<data::MicroBatch> out;
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i % each == 0) {
      out.push_back(rows[i]);
      continue;
    }
    data::MicroBatch& to = out.back();
    const auto begin = static_cast<std::int32_t>(to.ids.size());
    append(to.ids, rows[i].ids);
    append(to.positions, rows[i].positions);
    append(to.mask, rows[i].mask);
    append(to.inference_logprobs, rows[i].inference_logprobs);
    append(to.advantages, rows[i].advantages);
    append(to.temperatures, rows[i].temperatures);
    append(to.sample_index, rows[i].sample_index);
    for (std::size_t d = 1; d < rows[i].cu_seqlens.size(); ++d)
      to.cu_seqlens.push_back(begin + rows[i].cu_seqlens[d]);
  }
  return out;
}

class KernelBench {
 public:
  KernelBench(const BenchKernelsConfig& config, Logger& log) : config_(config), log_(log) {}
  // False after a dry run, which only plans.
  bool run(bool dry);
  const KernelReport& report() const { return report_; }

 private:
  void read_other();
  bool prepare(bool dry);
  void make_batches();
  double step();
  void record();
  void measure();

  const BenchKernelsConfig& config_;
  Logger& log_;
  RunModel model_;
  DeviceChoice device_;
  std::unique_ptr<ThreadPool> pool_;
  ops::CallLog calls_;
  ops::Context ctx_;  // without the log
  std::unique_ptr<Arena> arena_;
  Tensor rotation_;
  ModelMemory memory_;
  std::unique_ptr<train::Trainer> trainer_;
  std::vector<data::MicroBatch> batches_;
  KernelReport report_;
};

// A file of another row would give a ratio of two different things.
void KernelBench::read_other() {
  if (!config_.against.has_value()) return;
  report_.other = bench::from_json(durable::read_file(*config_.against), *config_.against);
  const bench::RunConfig& other = report_.other->config;
  const auto require = [&](const char* what, const auto& theirs, const auto& ours) {
    if (theirs == ours) return;
    throw bad_input(*config_.against + " is the result of another row",
                    fmt::format("its {} is {}, here it is {}", what, theirs, ours),
                    "give the options of that row, or another file");
  };
  require("config.success", other.success, true);
  require("model", other.model_name, report_.model);
  require("type", other.type, report_.type);
  require("LoRA rank (0: none)", other.lora_rank.value_or(0), report_.lora_rank.value_or(0));
  require("seq_len", other.seq_len, config_.seq_len());
  require("ac", other.ac, report_.ac);
  require("number of ranks", other.num_gpus, config_.ranks);
  require("number of rows a rank and step", other.micro_batches, config_.rows);
  require("numeric mode", other.numeric_mode, report_.mode);
  require("device", other.device_name, report_.device_name);
}

bool KernelBench::prepare(bool dry) {
  model_ = resolve_model(config_.model, 0, /*shapes_only=*/true);
  require_trainable_positions(model_, config_.seq_len(), "model.seq_len");
  bool absent = false;
  device_ = dry ? choose_planned_device(config_.device, &absent) : choose_device(config_.device);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.threads));
  ctx_ = absent ? ops::planning_context(device_.device, *pool_) : ops::make_context(device_.device, *pool_);
  if (!absent) ops::measure_products(ctx_);
  report_.model = config_.model.name;
  report_.type = config_.type;
  report_.ac = ac_text(config_.model);
  report_.device = device_text(device_, ctx_);
  report_.device_name = absent ? "" : device_label(device_.device);
  report_.mode = config_.model.quantization.value_or(ctx_.on_gpu() ? "fast" : "exact");
  if (model_.config.adapters.any()) report_.lora_rank = model_.config.adapters.rank;
  if (!absent) read_other();

  RunSection run;
  run.device = config_.device;
  run.memory_limit = config_.memory_limit;
  train::TrainerOptions options = trainer_options(config_.model, config_.optim, {}, run, std::nullopt,
                                                  config_.seq_len() * config_.micro_batch_size);
  if (config_.type == "sft") options.loss.type = "cross_entropy";
  MemoryPlan plan;
  const ModelRegions model_regions =
      plan_model(ctx_, model_.config, plan, config_.seq_len(), options.optimizer_on_host);
  const auto trainer_regions = train::Trainer::plan(ctx_, model_.config, options, plan);
  const RegionId rotation =
      plan.add(MemoryUse::kWorkspace, "copies of operands", DType::kU8,
               {static_cast<std::int64_t>(ctx_.on_gpu() ? kRotationOfGpu : kRotationOfCpu)});
  const std::size_t limit = run.memory_limit_bytes(device_.device);
  log_.info("device: " + report_.device);
  log_.info("model: " + model_.text);
  log_.info(fmt::format("memory: {} planned", monitor::gib(static_cast<double>(plan.total_bytes()))));
  plan.require_fits(limit, {"--model.ac.mode full: less is kept between forward and backward",
                            "--optim.moments bfloat16 on a GPU", "shorter rows: --model.seq-len"});
  if (dry) {
    fmt::print("{}", plan.table(limit));
    return false;
  }

  arena_ = std::make_unique<Arena>(std::move(plan), device_.device, config_.model.pin_host());
  rotation_ = (*arena_)[rotation];
  memory_ = make_model(model_.config, *arena_, model_regions);
  fill_weights(model_, memory_.full(), 0, *pool_);
  ops::Context logging = ctx_;
  logging.calls = &calls_;
  trainer_ = std::make_unique<train::Trainer>(logging, model_.config, options, *arena_, trainer_regions,
                                              memory_.weights, memory_.packed, memory_.rope, memory_.masters);
  return true;
}

void KernelBench::make_batches() {
  std::vector<data::MicroBatch> rows;
  if (config_.type == "rl") {
    data::FakeRlOptions fake;
    fake.micro_batches = config_.rows;
    fake.seq_len = config_.seq_len();
    fake.vocab_size = model_.config.vocab_size;
    rows = data::fake_rl_batches(fake, 0);
    // As `rlcpp trainer --bench`: near the policy's own, so that the masks of the loss reject nothing.
    constexpr double kNoise = 0.05;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      data::set_inference_logprobs(
          rows[i], [&](const data::MicroBatch& batch) { return trainer_->logprobs(batch); }, kNoise,
          mix64(0, i));
    }
  } else {
    data::FakeOptions fake;
    fake.vocab_size = model_.config.vocab_size;
    fake.seq_len = config_.seq_len();
    fake.random_ids = true;
    data::FakeSource source(fake);
    for (std::int64_t i = 0; i < config_.rows; ++i) {
      for (const data::Sample& sample : source.at(i)) rows.emplace_back().append(sample);
    }
  }
  batches_ = rows_together(rows, static_cast<std::size_t>(config_.micro_batch_size));
}

double KernelBench::step() {
  stop_if_asked();
  trainer_->synchronize();
  const double begin = monotonic_seconds();
  const train::StepResult result = trainer_->step(batches_);
  trainer_->synchronize();
  const double seconds = monotonic_seconds() - begin;
  for (const std::string& warning : ops::take_product_warnings(ctx_)) log_.warn(warning);
  if (result.skipped || !(result.grad_norm > 0)) {
    throw runtime_failure(
        fmt::format("a step on fake data had loss {} and gradient norm {}", result.loss, result.grad_norm),
        "its work was not a step's", "report this with the command");
  }
  return seconds;
}

// The first step chooses algorithms and warms up; the second says what a step calls.
void KernelBench::record() {
  make_batches();
  log_.info(fmt::format("first step {:.3f} s", step()));
  calls_.on = true;
  step();
  calls_.on = false;
  for (std::int64_t i = 0; i < config_.steps; ++i) {
    report_.steps.push_back(step());
    log_.info(fmt::format("step {}/{} {:.3f} ms", i + 1, config_.steps, 1e3 * report_.steps.back()));
  }
}

void KernelBench::measure() {
  struct Range {
    const std::byte *begin, *end;
  };
  std::vector<Range> activations;
  const std::vector<MemoryPlan::Region>& regions = arena_->plan().regions();
  for (std::size_t i = 0; i < regions.size(); ++i) {
    if (regions[i].use != MemoryUse::kActivations) continue;
    const Tensor t = (*arena_)[RegionId{static_cast<std::int32_t>(i)}];
    const auto* const begin = static_cast<const std::byte*>(t.raw());
    activations.push_back({begin, begin + t.bytes()});
  }
  bench::KernelOptions options;
  options.seconds = config_.seconds;
  options.timeout = config_.timeout;
  options.rotation = rotation_;
  options.pool = pool_.get();
  options.progress = stop_if_asked;
  options.random = [&](const Tensor& t) {
    const auto* const at = static_cast<const std::byte*>(t.raw());
    return t.dtype() == ctx_.compute_type() && t.rank() >= 2 &&
           std::ranges::any_of(activations, [&](const Range& r) { return at >= r.begin && at < r.end; });
  };
  const std::vector<bench::KernelGroup> groups = bench::group_calls(std::move(calls_.calls));
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const bench::KernelGroup& group = groups[i];
    KernelRow row{group.name,  group.shape, static_cast<std::int64_t>(group.calls.size()), group.flops,
                  group.bytes, 1,           bench::measure_group(ctx_, group, options)};
    // Adapters are updated whole by every rank.
    const bool shared =
        row.name == "adamw" || row.name == "sgd" || row.name == "sign_sgd" || row.name == "sum_of_squares";
    if (shared && !model_.config.adapters.any()) row.share = 1.0 / static_cast<double>(config_.ranks);
    log_.info(fmt::format("operation {}/{}: {} {}, {:.4f} ms x {}", i + 1, groups.size(), row.name, row.shape,
                          1e3 * row.time.seconds, row.calls));
    report_.rows.push_back(std::move(row));
  }
}

bool KernelBench::run(bool dry) {
  config_.validate();
  if (!prepare(dry)) return false;
  record();
  measure();
  return true;
}

int run_bench_kernels(const Invocation& invocation) {
  Logger log(invocation.log);
  BenchKernelsConfig config;
  config::load(config::describer(config), invocation.arguments);
  install_signal_handlers({"finishing this measurement; nothing is saved", false});
  KernelBench bench(config, log);
  if (!bench.run(invocation.dry_run)) return 0;
  fmt::print("{}",
             invocation.json ? kernel_json(config, bench.report()) : kernel_text(config, bench.report()));
  return 0;
}

}  // namespace

Command bench_kernels_command() {
  Command c;
  c.name = "bench kernels";
  c.summary = "Measure each operation of a training step by itself: the kernel sum.";
  c.usage = "rlcpp bench kernels --model.name NAME [--type rl] [--model.seq-len N] [--key value ...]";
  c.examples = {"rlcpp bench kernels --model.name Qwen/Qwen3-0.6B --model.seq-len 8192 --rows 4 --model.ac",
                "rlcpp bench kernels --type rl --model.lora.rank 16 --against result.json --json"};
  describe_options<BenchKernelsConfig>(c);
  c.run = run_bench_kernels;
  return c;
}

}  // namespace rlcpp::app
