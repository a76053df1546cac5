#include "app/bench_rollout.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "app/command.h"
#include "app/run_clock.h"
#include "app/run_engine.h"
#include "app/run_model.h"
#include "app/run_start.h"
#include "app/version.h"
#include "base/error.h"
#include "base/readable.h"
#include "base/rng.h"
#include "base/signals.h"
#include "monitor/console.h"
#include "ops/matmul.h"
#include "rollout/engine.h"

namespace rlcpp::app {

void BenchRolloutConfig::describe(config::Schema& s) {
  s.section("model", model, "The model; of built-in shapes the weights are random.");
  s.field("load", load,
          "What is asked of the engine: nano (the workload of nano-vllm's bench.py), groups (16 of 16 "
          "completions, with and without shared prompts), decode (1 and 8 sequences), prefill (64 prompts of "
          "1024), or all.")
      .one_of({"all", "nano", "groups", "decode", "prefill"});
  s.field("scale", scale, "The part of each load that is run: of its sequences, and of their lengths.")
      .above(0)
      .at_most(1);
  s.field("sequences", sequences, "Only the first sequences of a load, but of decode; 0: all.").at_least(0);
  s.field("temperature", sampling.temperature, "What is sampled at; 0: the most probable token.").at_least(0);
  s.field("top_k", sampling.top_k, "The most probable tokens that may be drawn; -1: all.").at_least(-1);
  s.field("top_p", sampling.top_p, "Their least probability together; 1: all.").above(0).at_most(1);
  s.field("min_p", sampling.min_p, "Their least probability, over the largest; 0: all.")
      .at_least(0)
      .at_most(1);
  s.field("repetition_penalty", sampling.repetition_penalty, "Of tokens seen before; 1: none.").above(0);
  describe_engine(s);
  s.field("warm_up", warm_up, "Runs of each load before those that count; None: 1 on a GPU, 0 on a CPU.")
      .at_least(0)
      .at_most(100);
  s.field("repeats", repeats, "Runs of each load that count; the one of median time is reported.")
      .at_least(1)
      .at_most(1000);
  s.field("output_json", output_json, "File for the result.");
}

void BenchRolloutConfig::validate() const {
  validate_engine();
  if (output_json.has_value()) require_writable_file(*output_json, "output_json");
}

namespace {

bench::RolloutShape shape_of(const model::ModelConfig& config, DType type) {
  bench::RolloutShape out;
  out.layers = config.num_layers;
  out.heads = config.num_heads;
  out.kv_heads = config.num_kv_heads;
  out.head_dim = config.head_dim;
  out.vocabulary = config.vocab_size;
  out.head_parameters = static_cast<double>(config.vocab_size * config.hidden_size);
  out.layer_parameters = static_cast<double>(config.matmul_parameters()) - out.head_parameters;
  out.element_bytes = static_cast<std::int64_t>(size_of(type));
  return out;
}

class RolloutBench {
 public:
  RolloutBench(const BenchRolloutConfig& config, Logger& log) : config_(config), log_(log) {}
  // False after a dry run, which only plans.
  bool run(bool dry);
  const RolloutReport& report() const { return report_; }

 private:
  bool prepare(bool dry);
  void submit(const bench::RolloutLoad& load);
  RolloutPass pass(const bench::RolloutLoad& load);
  void require_all(const bench::RolloutLoad& load,
                   const std::vector<rollout::SampledSequence>& sequences) const;

  const BenchRolloutConfig& config_;
  Logger& log_;
  RunModel model_;
  DeviceChoice device_;
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_;
  std::vector<bench::RolloutLoad> loads_;
  std::unique_ptr<Arena> arena_;
  ModelMemory memory_;
  std::unique_ptr<rollout::Engine> engine_;
  std::int64_t version_ = 0, group_ = 0;
  RolloutReport report_;
};

bool RolloutBench::prepare(bool dry) {
  model_ = resolve_model(config_.model, 0, /*shapes_only=*/true);
  loads_ = bench::rollout_loads(config_.load, {config_.scale, model_.config.vocab_size, config_.sequences});
  std::int64_t longest = 2, pages = 1;
  for (const bench::RolloutLoad& load : loads_) {
    longest = std::max(longest, load.longest());
    pages = std::max(pages, load.pages(config_.page_size));
  }
  require_trainable_positions(model_, longest, "the longest sequence of the loads");
  bool absent = false;
  device_ = dry ? choose_planned_device(config_.device, &absent) : choose_device(config_.device);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.threads));
  ctx_ = run_context(device_.device, *pool_, config_.numeric_mode, absent, model_.config.qkv());

  const std::size_t limit = config_.memory_limit_bytes(device_.device);
  MemoryPlan plan;
  const ModelRegions model_regions = plan_policy(ctx_, model_.config, plan, longest);
  const rollout::EngineConfig engine = config_.engine(ctx_, model_.config, longest, pages, plan, limit);
  const auto engine_regions = plan_engine(ctx_, model_.config, engine, plan);

  report_.model = config_.model.name;
  report_.device = device_text(device_, ctx_);
  report_.device_name = absent ? "" : device_label(device_.device);
  report_.mode = std::string(name_of(ctx_.mode));
  report_.dtype = std::string(name_of(ctx_.compute_type()));
  report_.max_sequences = engine.max_sequences;
  report_.max_batch_tokens = engine.max_batch_tokens;
  report_.page_size = engine.page_size;
  report_.num_pages = engine.num_pages;
  report_.planned_bytes = plan.total_bytes();
  log_bench_engine(log_, report_.device, ctx_, model_, plan, engine);
  plan.require_fits(limit, {"--max-batch-tokens: smaller forwards", "--num-pages: a smaller cache",
                            "--scale: a part of the loads"});
  if (dry) {
    fmt::print("{}", plan.table(limit));
    return false;
  }
  report_.machine = ctx_.on_gpu() ? bench::gpu_rollout_machine(report_.device_name)
                                  : bench::cpu_rollout_machine(pool_->size());
  arena_ = std::make_unique<Arena>(std::move(plan), device_.device);
  memory_ = make_model(model_.config, *arena_, model_regions);
  fill_weights(model_, memory_.full(), 0, *pool_);
  model::pack_all(ctx_, memory_.packed, memory_.weights);
  engine_ = make_engine(ctx_, model_.config, engine, *arena_, engine_regions, memory_, nullptr);
  return true;
}

void RolloutBench::submit(const bench::RolloutLoad& load) {
  for (const bench::RolloutRequest& from : load.requests) {
    rollout::GroupRequest request;
    request.id = group_++;
    request.prompt = from.prompt;
    request.n = static_cast<std::int32_t>(from.n);
    request.max_tokens = static_cast<std::int32_t>(from.max_tokens);
    request.sampling = config_.sampling;
    for (std::int64_t i = 0; i < from.n; ++i) {
      request.seeds.push_back(mix64(static_cast<std::uint64_t>(request.id), static_cast<std::uint64_t>(i)));
    }
    engine_->submit(std::move(request));
  }
}

// Fast and wrong is wrong.
void RolloutBench::require_all(const bench::RolloutLoad& load,
                               const std::vector<rollout::SampledSequence>& sequences) const {
  std::int64_t tokens = 0;
  bool good = static_cast<std::int64_t>(sequences.size()) == load.sequences();
  for (const rollout::SampledSequence& s : sequences) {
    tokens += static_cast<std::int64_t>(s.ids.size());
    good = good && s.finish == rollout::FinishReason::kLength && s.logprobs.size() == s.ids.size() &&
           std::ranges::all_of(s.logprobs, [](float p) { return std::isfinite(p) && p <= 0; });
  }
  if (good && tokens == load.output_tokens()) return;
  throw runtime_failure(fmt::format("the engine gave {} sequences with {} tokens for the load {}",
                                    sequences.size(), tokens, load.name),
                        fmt::format("{} sequences of {} tokens with finite log-probabilities were asked for",
                                    load.sequences(), load.output_tokens()),
                        "report this with the command");
}

RolloutPass RolloutBench::pass(const bench::RolloutLoad& load) {
  engine_->set_version(++version_);  // nothing that an earlier run computed is found again
  const rollout::EngineStats before = engine_->stats();
  std::vector<rollout::SampledSequence> sequences;
  RolloutPass out;
  std::optional<double> decoding;
  std::int64_t forwards = 0;
  const double begin = monotonic_seconds();
  submit(load);
  while (!engine_->idle()) {
    for (rollout::SampledSequence& s : engine_->step()) sequences.push_back(std::move(s));
    const rollout::EngineStats& now = engine_->stats();
    if (!decoding.has_value() && now.sampled_tokens - before.sampled_tokens >= load.sequences()) {
      decoding = monotonic_seconds();
      forwards = now.forwards;
    }
    stop_if_asked();
  }
  const double end = monotonic_seconds();
  require_all(load, sequences);
  const rollout::EngineStats& after = engine_->stats();
  out.seconds = end - begin;
  out.forward = after.forward_seconds - before.forward_seconds;
  out.sampling = after.sample_seconds - before.sample_seconds;
  const double inside = after.seconds - before.seconds;
  out.scheduler = inside - out.forward - out.sampling;
  out.host = out.seconds - inside;
  out.forwards = after.forwards - before.forwards;
  out.decode_seconds = end - decoding.value_or(end);
  out.decode_forwards = after.forwards - forwards;
  out.prefill_tokens = after.prefill_tokens - before.prefill_tokens;
  out.cached_tokens = after.cached_tokens - before.cached_tokens;
  out.preemptions = after.preemptions - before.preemptions;
  out.pages_peak = after.pages_used_peak;
  return out;
}

bool RolloutBench::run(bool dry) {
  config_.validate();
  if (!prepare(dry)) return false;
  const bench::RolloutShape shape = shape_of(model_.config, ctx_.compute_type());
  const std::int64_t warm_up = config_.warm_up.value_or(ctx_.on_gpu() ? 1 : 0);
  for (const bench::RolloutLoad& load : loads_) {
    RolloutRow row{load, {}, std::nullopt};
    if (report_.machine.known())
      row.roofline = bench::rollout_roofline(shape, load, config_.max_sequences, report_.machine);
    for (std::int64_t i = 0; i < warm_up; ++i) pass(load);
    for (std::int64_t i = 0; i < config_.repeats; ++i) {
      row.passes.push_back(pass(load));
      log_.info(fmt::format("{}{}: {:.3f} s", load.name, load.variant.empty() ? "" : ", " + load.variant,
                            row.passes.back().seconds));
    }
    report_.rows.push_back(std::move(row));
  }
  report_.peak_bytes = peak_memory_bytes(device_.device);
  return true;
}

int run_bench_rollout(const Invocation& invocation) {
  Logger log(invocation.log);
  BenchRolloutConfig config;
  config::load(config::describer(config), invocation.arguments);
  install_signal_handlers({"stopping this measurement; nothing is saved", false});
  RolloutBench bench(config, log);
  if (!bench.run(invocation.dry_run)) return 0;
  give_result(invocation, config.output_json, rollout_json(config, bench.report()),
              rollout_text(bench.report()));
  return 0;
}

}  // namespace

Command bench_rollout_command() {
  Command c;
  c.name = "bench rollout";
  c.summary = "Measure the rollout engine: tokens a second, against the device's roofline.";
  c.usage = "rlcpp bench rollout --model.name NAME [--load nano|groups|decode|prefill] [--key value ...]";
  c.examples = {"rlcpp bench rollout --model.name Qwen/Qwen3-0.6B --load nano --output-json nano.json",
                "rlcpp bench rollout --model.name Qwen/Qwen3-0.6B --device cpu --scale 0.05"};
  describe_options<BenchRolloutConfig>(c);
  c.run = run_bench_rollout;
  return c;
}

}  // namespace rlcpp::app
