// rlcpp bench rl: whole steps of `rlcpp rl` on made-up prompts of one shape, and where their time goes. No
// tokenizer, no environment: engine, packer and trainer as in a run, on the same memory.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench_engine.h"
#include "app/bench_rollout.h"
#include "app/command.h"
#include "app/rank_engines.h"
#include "app/run_clock.h"
#include "app/run_engine.h"
#include "app/run_model.h"
#include "app/run_start.h"
#include "app/run_training.h"
#include "app/version.h"
#include "base/error.h"
#include "base/readable.h"
#include "base/rng.h"
#include "base/signals.h"
#include "bench/runner.h"
#include "bench/statistics.h"
#include "monitor/console.h"
#include "ops/matmul.h"
#include "orchestrator/batch.h"
#include "rollout/engine.h"
#include "train/trainer.h"

namespace rlcpp::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMostSequences = std::int64_t{1} << 18;

struct BenchRlConfig : BenchEngineOptions {
  ModelSection model;
  train::OptimConfig optim;
  RlDistSection dist;
  std::int64_t groups = 16, completions = 16, prompt_tokens = 512, output_tokens = 512;
  std::int64_t steps = 3, warm_up = 1, forward_repeats = 3;
  std::optional<std::string> output_json;

  void describe(config::Schema& s) {
    s.section("model", model, "The model and how the trainer computes it; seq_len: of a packed row.");
    s.section("optim", optim, "The optimizer.");
    s.section("dist", dist, "Several GPUs: each has a rank of the trainer and an engine.");
    s.field("groups", groups, "Prompts of a step.").at_least(1).at_most(65536);
    s.field("completions", completions, "Completions of each prompt.").at_least(1).at_most(65536);
    s.field("prompt_tokens", prompt_tokens, "Tokens of a prompt.").at_least(1).at_most(1 << 24).in("tokens");
    s.field("output_tokens", output_tokens, "Tokens of a completion; none ends earlier.")
        .at_least(1)
        .at_most(1 << 24)
        .in("tokens");
    s.field("steps", steps, "Steps that count; medians are reported.").at_least(1).at_most(1000);
    s.field("warm_up", warm_up, "Steps before them.").at_least(0).at_most(1000);
    s.field("forward_repeats", forward_repeats,
            "Forwards of the last step's rows alone, after the steps; their median is reported. 0: none.")
        .at_least(0)
        .at_most(1000);
    describe_engine(s);
    s.field("output_json", output_json, "File for the result.");
  }
  std::int64_t sequences() const { return groups * completions; }
  std::int64_t length() const { return prompt_tokens + output_tokens; }
  std::int64_t row_tokens() const { return model.seq_len.value_or(std::max<std::int64_t>(length(), 2048)); }
};

// Seconds of a step. The parts add up to `step`.
struct StepTimes {
  double step = 0, rollouts = 0, training = 0, publication = 0, waiting = 0;
};

class RlBench {
 public:
  RlBench(const BenchRlConfig& config, Logger& log) : config_(config), log_(log) {}
  // False after a dry run, which only plans.
  bool run(bool dry);
  Json json();
  std::string text();

 private:
  void validate() const;
  bool prepare(bool dry);
  std::vector<data::MicroBatch> rollouts();
  StepTimes step();
  void time_forward();
  void synchronize() {
    team_->group().on_each([](train::Trainer& trainer) { trainer.synchronize(); });
  }
  double median(double StepTimes::*part) const {
    std::vector<double> values;
    for (const StepTimes& t : times_) values.push_back(t.*part);
    return bench::median(values);
  }

  const BenchRlConfig& config_;
  Logger& log_;
  RunModel model_;
  DeviceChoice device_;
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_, engine_ctx_;
  RankSetup ranks_;
  std::unique_ptr<RankTeam> team_;
  std::unique_ptr<RankEngines> engines_;
  std::int64_t version_ = 0, group_ = 0;
  std::vector<data::MicroBatch> rows_;  // of the last step
  std::vector<StepTimes> times_;
  std::vector<double> forwards_;    // seconds of the trainer's forward of rows_, of the slowest rank
  std::vector<double> mismatches_;  // mismatch_kl/mean of each step
  std::size_t planned_ = 0;
};

void RlBench::validate() const {
  config_.model.recompute();
  config_.optim.validate();
  config_.validate_engine();
  if (config_.output_json.has_value()) require_writable_file(*config_.output_json, "output_json");
  if (config_.sequences() > kMostSequences) {
    throw bad_input(fmt::format("groups * completions is {}", config_.sequences()),
                    fmt::format("a step of this benchmark has at most {} rollouts", kMostSequences),
                    "lower groups or completions");
  }
  if (config_.row_tokens() < config_.length()) {
    throw bad_input("a rollout does not fit a row",
                    fmt::format("model.seq_len is {}, prompt and output together have {} tokens",
                                config_.row_tokens(), config_.length()),
                    "raise model.seq_len, or lower prompt_tokens or output_tokens");
  }
}

bool RlBench::prepare(bool dry) {
  model_ = resolve_model(config_.model, 0, /*shapes_only=*/true);
  require_trainable_positions(model_, config_.length(), "prompt_tokens + output_tokens");
  bool absent = false;
  device_ = dry ? choose_planned_device(config_.device, &absent) : choose_device(config_.device);
  ranks_ = find_rl_ranks(config_.dist, device_.device, config_.device, /*teacher=*/false);
  device_.device = ranks_.device_of(0);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.threads));
  const auto context = [&] {
    return run_context(device_.device, *pool_, config_.numeric_mode, absent, model_.config.qkv());
  };
  ctx_ = context();
  engine_ctx_ = context();
  require_shared_arithmetic(config_.model, ctx_.mode, "model");
  if (!absent) ops::measure_products(ctx_);

  const RunSection run;
  const std::size_t limit = ranks_.limit_for_plan(config_.memory_limit_bytes(device_.device));
  train::TrainerOptions options =
      trainer_options(config_.model, config_.optim, {}, run, std::nullopt, config_.row_tokens());
  const auto zero = static_cast<int>(config_.dist.zero);
  options.sharding = ranks_.sharding(0, zero);
  RankPlan rank_plan = plan_rank(ctx_, model_.config, options, config_.length());
  MemoryPlan& plan = rank_plan.plan;
  const std::int64_t each = (config_.length() + config_.page_size - 1) / config_.page_size;
  // Groups go round, so the first rank has most of them.
  const std::int64_t share = (config_.groups + ranks_.count() - 1) / ranks_.count();
  const rollout::EngineConfig engine = config_.engine(engine_ctx_, model_.config, config_.length(),
                                                      each * share * config_.completions, plan, limit);
  const auto engine_regions = plan_engine(engine_ctx_, model_.config, engine, plan);
  planned_ = plan.total_bytes();
  log_bench_engine(log_, device_text(device_, ctx_), ctx_, model_, plan, engine);
  plan.require_fits(limit, {"--num-pages: a smaller cache", "--model.ac.mode full: fewer activations",
                            "--model.seq-len: shorter rows"});
  if (dry) {
    fmt::print("{}", plan.table(limit));
    return false;
  }
  team_ = std::make_unique<RankTeam>(
      ranks_, ctx_,
      RankTeam::Parts{model_, options, rank_plan, zero, 0, config_.model.pin_host(), /*fill=*/true});
  engines_ = std::make_unique<RankEngines>(
      *team_, RankEngines::Parts{model_.config, engine, engine_regions, engine_ctx_, nullptr});
  synchronize();
  engines_->client().set_version(version_);
  return true;
}

// Sampled, given advantages ~ N(0, 1), and packed.
std::vector<data::MicroBatch> RlBench::rollouts() {
  std::vector<std::vector<std::int32_t>> prompts;
  const std::int64_t first = group_;
  for (std::int64_t g = 0; g < config_.groups; ++g) {
    rollout::GroupRequest request;
    request.id = group_++;
    Rng rng(1, static_cast<std::uint64_t>(request.id));
    for (std::int64_t t = 0; t < config_.prompt_tokens; ++t) {
      request.prompt.push_back(
          static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(model_.config.vocab_size))));
    }
    request.n = static_cast<std::int32_t>(config_.completions);
    request.max_tokens = static_cast<std::int32_t>(config_.output_tokens);
    for (std::int64_t i = 0; i < config_.completions; ++i) request.seeds.push_back(rng.next_u64());
    prompts.push_back(request.prompt);
    engines_->client().submit(std::move(request));
  }
  std::vector<data::Sample> samples;
  while (engines_->client().outstanding() > 0) {
    for (const rollout::SampledSequence& s : engines_->client().poll().finished) {
      RLCPP_CHECK(static_cast<std::int64_t>(s.ids.size()) == config_.output_tokens);
      data::Sample sample;
      sample.ids = prompts[static_cast<std::size_t>(s.group - first)];
      const std::size_t prompt = sample.ids.size();
      sample.ids.insert(sample.ids.end(), s.ids.begin(), s.ids.end());
      sample.mask.assign(sample.ids.size(), 1);
      sample.inference_logprobs.assign(prompt, 0);
      sample.inference_logprobs.insert(sample.inference_logprobs.end(), s.logprobs.begin(), s.logprobs.end());
      sample.index = (s.group - first) * config_.completions + s.sample;
      Rng rng(2, static_cast<std::uint64_t>(version_ * config_.sequences() + sample.index));
      sample.advantages.assign(sample.ids.size(), rng.normal());
      std::fill_n(sample.mask.begin(), prompt, 0);
      std::fill_n(sample.advantages.begin(), prompt, 0);
      samples.push_back(std::move(sample));
    }
    stop_if_asked();
  }
  // Completions end in an order of the engine's; rows do not depend on it.
  std::ranges::sort(samples, {}, &data::Sample::index);
  return orchestrator::pack_rows(samples, config_.row_tokens());
}

StepTimes RlBench::step() {
  StepTimes out;
  const double begin = monotonic_seconds();
  rows_ = rollouts();
  engines_->synchronize();
  const double sampled = monotonic_seconds();
  const train::StepResult result = team_->step(rows_);
  synchronize();
  const double trained = monotonic_seconds();
  engines_->client().set_version(++version_);
  const double published = monotonic_seconds();
  for (const std::string& warning : team_->take_product_warnings()) log_.warn(warning);
  if (result.skipped || !(result.grad_norm > 0)) {
    throw runtime_failure(
        fmt::format("a step had loss {} and gradient norm {}", result.loss, result.grad_norm),
        "its work was not a step's", "report this with the command");
  }
  if (ctx_.mode == ops::NumericMode::kExact && result.max_abs_mismatch != 0) {
    throw runtime_failure("engine and trainer disagree on the probability of a sampled token",
                          fmt::format("by up to {:.3g} of its logarithm, and exact mode promises equal bits",
                                      result.max_abs_mismatch),
                          "this is an error of rlcpp: please report it with the command");
  }
  mismatches_.push_back(result.metrics.get("mismatch_kl/mean"));
  out.rollouts = sampled - begin;
  out.training = trained - sampled;
  out.publication = published - trained;
  out.step = monotonic_seconds() - begin;
  out.waiting = out.step - out.rollouts - out.training - out.publication;
  return out;
}

// What mode exact costs a forward cannot be seen in `training`, whose larger part is the same in both modes.
void RlBench::time_forward() {
  if (config_.forward_repeats > 0) team_->forward_seconds(rows_);  // the first chooses kernels
  for (std::int64_t i = 0; i < config_.forward_repeats; ++i)
    forwards_.push_back(team_->forward_seconds(rows_));
}

bool RlBench::run(bool dry) {
  validate();
  if (!prepare(dry)) return false;
  for (std::int64_t i = 0; i < config_.warm_up; ++i) step();
  mismatches_.clear();
  for (std::int64_t i = 0; i < config_.steps; ++i) {
    times_.push_back(step());
    log_.info(fmt::format("step {}/{} {:.3f} s", i + 1, config_.steps, times_.back().step));
  }
  time_forward();
  return true;
}

Json RlBench::json() {
  const auto tokens = static_cast<double>(config_.sequences() * config_.length());
  Json out;
  out["kind"] = "rl_steps";
  out["config"] = {{"engine", "rlcpp"},
                   {"model_name", config_.model.name},
                   {"lora_rank", model_.config.adapters.any() ? Json(model_.config.adapters.rank) : Json()},
                   {"num_gpus", ranks_.count()},
                   {"device_name", device_label(device_.device)},
                   {"numeric_mode", std::string(name_of(ctx_.mode))},
                   {"groups", config_.groups},
                   {"completions", config_.completions},
                   {"prompt_tokens", config_.prompt_tokens},
                   {"output_tokens", config_.output_tokens},
                   {"seq_len", config_.row_tokens()},
                   {"commit_sha", commit_sha()},
                   {"timestamp", bench::utc_timestamp()}};
  out["planned_bytes"] = planned_;
  out["peak_bytes"] = team_->peak_memory();
  out["step_seconds"] = median(&StepTimes::step);
  out["split"] = {{"rollouts", median(&StepTimes::rollouts)},
                  {"training", median(&StepTimes::training)},
                  {"publication", median(&StepTimes::publication)},
                  {"waiting", median(&StepTimes::waiting)}};
  out["tokens_per_second"] = tokens / median(&StepTimes::step);
  out["output_tokens_per_second"] =
      static_cast<double>(config_.sequences() * config_.output_tokens) / median(&StepTimes::rollouts);
  out["training_tokens_per_second"] = tokens / median(&StepTimes::training);
  if (!forwards_.empty()) {
    out["forward_seconds"] = bench::median(forwards_);
    out["forward_runs"] = forwards_;
  }
  out["mismatch_kl"] = mismatches_;
  out["steps"] = Json::array();
  for (const StepTimes& t : times_) {
    out["steps"].push_back({{"step", t.step},
                            {"rollouts", t.rollouts},
                            {"training", t.training},
                            {"publication", t.publication},
                            {"waiting", t.waiting}});
  }
  return out;
}

std::string RlBench::text() {
  const Json all = json();
  const double step = all["step_seconds"].get<double>();
  std::vector<std::vector<std::string>> cells = {{"of a step", "s", "%"}};
  for (const auto& [name, seconds] : all["split"].items()) {
    cells.push_back({name, fmt::format("{:.4f}", seconds.get<double>()),
                     fmt::format("{:.1f}", 100 * seconds.get<double>() / step)});
  }
  cells.push_back({"step", fmt::format("{:.4f}", step), "100.0"});
  if (!forwards_.empty()) {
    const double forward = all["forward_seconds"].get<double>();
    cells.push_back({"forward of its rows, apart", fmt::format("{:.4f}", forward),
                     fmt::format("{:.1f}", 100 * forward / step)});
  }
  const std::string where =
      fmt::format("{} {}{}", ranks_.count(), ranks_.device == DeviceKind::kCuda ? "GPU" : "CPU rank",
                  ranks_.count() == 1 ? "" : "s");
  return monitor::table(cells) +
         fmt::format(
             "\n{} rollouts of {} + {} tokens on {}: {:.0f} tokens/s in all, {:.0f} sampled, {:.0f} "
             "trained; "
             "mismatch_kl up to {:.3g}; medians of {} steps; mode {}\n",
             config_.sequences(), config_.prompt_tokens, config_.output_tokens, where,
             all["tokens_per_second"].get<double>(), all["output_tokens_per_second"].get<double>(),
             all["training_tokens_per_second"].get<double>(),
             *std::max_element(mismatches_.begin(), mismatches_.end()), times_.size(), name_of(ctx_.mode));
}

int run_bench_rl(const Invocation& invocation) {
  Logger log(invocation.log);
  BenchRlConfig config;
  config::load(config::describer(config), invocation.arguments);
  install_signal_handlers({"stopping this measurement; nothing is saved", false});
  RlBench bench(config, log);
  if (!bench.run(invocation.dry_run)) return 0;
  give_result(invocation, config.output_json, bench.json().dump(1) + "\n", bench.text());
  return 0;
}

}  // namespace

Command bench_rl_command() {
  Command c;
  c.name = "bench rl";
  c.summary = "Measure whole steps of rl on made-up prompts: sampling, training, publication.";
  c.usage = "rlcpp bench rl --model.name NAME [--groups N] [--completions N] [--key value ...]";
  c.examples = {"rlcpp bench rl --model.name Qwen/Qwen3-0.6B --model.seq-len 8192 --output-json rl.json",
                "rlcpp bench rl --model.name Qwen/Qwen3-4B --model.lora.rank 16 --dry-run --device cuda"};
  describe_options<BenchRlConfig>(c);
  c.run = run_bench_rl;
  return c;
}

}  // namespace rlcpp::app
