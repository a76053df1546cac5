// The trainer on made-up rollouts.
#include "app/rl_trainer_parts.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include <fmt/format.h>

#include "app/run_bench.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_directory.h"
#include "app/run_processes.h"
#include "app/run_rows.h"
#include "app/run_start.h"
#include "app/run_watch.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/signals.h"
#include "data/fake_rl.h"
#include "monitor/metrics.h"
#include "ops/matmul.h"

namespace rlcpp::app {
namespace {

// Weights through files, the newest step alone, in a directory that did not exist and is removed at the end.
class Publishing {
 public:
  Publishing(const std::string& root, DType type, bool first)
      : root_(root), first_(first), sender_(durable::system_files(), root, "bench", type) {
    std::error_code ignored;
    if (first && std::filesystem::exists(root, ignored)) {
      throw bad_input(fmt::format("bench.publish_dir: {} exists", root),
                      "it is made by the command, and removed at its end", "name a new directory");
    }
  }
  ~Publishing() {
    std::error_code ignored;
    if (first_) std::filesystem::remove_all(root_, ignored);
  }
  Publishing(const Publishing&) = delete;
  Publishing& operator=(const Publishing&) = delete;
  void publish(RankTeam& team, const model::ModelConfig& model, std::int64_t step) {
    publish_weights(team, sender_, model, step, step);
    if (first_) sender_.prune_before(step, [](std::int64_t) { return false; });
  }

 private:
  std::string root_;
  bool first_;  // of several processes
  transport::FileWeightSender sender_;
};

TrainerOutcome train(TrainerConfig& config, const config::Loaded& loaded, const Invocation& invocation,
                     const TrainingHooks& hooks, RankSetup& ranks, Logger& log) {
  config.validate();
  const std::int64_t max_steps = config.max_steps.value_or(-1);
  RunModel model = resolve_model(config.model, config.run.seed, /*shapes_only=*/true);
  require_trainable_positions(model, config.seq_len(), "model.seq_len");
  bool absent = false;  // a dry run plans for a GPU that is not here
  DeviceChoice device = invocation.dry_run ? choose_planned_device(config.run.device, &absent)
                                           : choose_device(config.run.device);
  ranks = find_ranks(config.dist, device.device, config.run.device);
  meet(ranks, "trainer", config::to_json(config::describer(config)), invocation.dry_run, log);
  device.device = ranks.device_of(0);
  ThreadPool pool(static_cast<int>(config.run.threads));
  const ops::Context ctx =
      run_context(device.device, pool, config.run.numeric_mode, absent, model.config.qkv());
  if (!absent) ops::measure_products(ctx);
  warn_of_idle(config.dist, ranks, model.config.adapters.any(), config.data.fake->batch_size, log);

  train::TrainerOptions options = trainer_options(config.model, config.optim, config.scheduler, config.run,
                                                  config.max_steps, config.seq_len());
  options.loss = config.loss;
  const std::size_t limit = ranks.limit_for_plan(config.run.memory_limit_bytes(device.device));
  const int zero = require_trainer_memory(config, model, ctx, ranks, absent, limit);
  options.sharding = ranks.sharding(0, zero);
  const RankPlan rank_plan = plan_rank(ctx, model.config, options, config.seq_len());
  const MemoryPlan& plan = rank_plan.plan;
  // ids, positions, mask, log-probabilities and advantages, and what is computed of them.
  constexpr double kBytesOfToken = 24;
  const double rows_bytes = kBytesOfToken * static_cast<double>(config.data.fake->batch_size) *
                            static_cast<double>(config.seq_len());
  require_host_room(
      fmt::format("the rows of a step do not fit the memory: data.fake.batch_size is {} rows of {} "
                  "tokens",
                  config.data.fake->batch_size, config.seq_len()),
      rows_bytes, plan.total_bytes(), limit, device.device, "lower data.fake.batch_size or model.seq_len");

  const std::optional<CkptSection> no_ckpt;
  const RunStart run_start{"trainer",  config::describer(config), loaded, invocation,   config.run, no_ckpt,
                           config.log, !config.bench.has_value(), true,   ranks.first()};
  const std::unique_ptr<RunDirectory> directory = open_run(run_start, log);
  const FakeRolloutsSection& fake = *config.data.fake;
  const RunFacts facts{
      device_text(device, ctx),
      model.text,
      fmt::format("fake rollouts, {} rows of {} tokens a step{}", fake.batch_size, config.seq_len(),
                  fake.generate_samples ? ", several documents a row" : ""),
      plan,
      limit,
      "samples",
      [] { return std::string("fake rollouts have no text to show\n"); },
      [] { return nlohmann::ordered_json::array(); },
      absent,
      ranks_text(ranks, zero, model.config.adapters.any())};
  if (!announce(run_start, facts, log)) return {.first = ranks.first()};
  if (hooks.on_start)
    hooks.on_start({model, device.device, plan.total_bytes(), ranks.count(), ranks.on_this_machine()});

  RankTeam team(ranks, ctx,
                RankTeam::Parts{model, options, rank_plan, zero, config.run.seed, config.model.pin_host()});
  std::unique_ptr<monitor::MetricsWriter> metrics;
  std::unique_ptr<Publishing> publishing;
  if (config.bench.has_value() && config.bench->publish_dir.has_value()) {
    publishing = std::make_unique<Publishing>(*config.bench->publish_dir,
                                              broadcast_dtype(config.weight_broadcast, ctx.compute_type()),
                                              ranks.first());
  }
  if (directory != nullptr && ranks.first())
    metrics = std::make_unique<monitor::MetricsWriter>(directory->path(), "trainer");
  std::unique_ptr<RunWatch> watch;
  if (ranks.first()) {
    watch = std::make_unique<RunWatch>(config.watch,
                                       WatchedRun{"trainer", directory != nullptr ? directory->path() : "", 1,
                                                  &plan, config::to_json(config::describer(config))},
                                       log);
  }

  data::FakeRlOptions data;
  data.micro_batches = fake.batch_size;
  data.seq_len = config.seq_len();
  data.vocab_size = model.config.vocab_size;
  data.generate_samples = fake.generate_samples;
  data.seed = static_cast<std::uint64_t>(config.run.seed);
  TrainerOutcome out;
  const StepReports reports{max_steps, ranks.count(),
                            reference_mfu(model.config, device.device, config.seq_len(), 1) / ranks.count()};
  monitor::Eta eta;
  const double start = monotonic_seconds();
  double last_end = start;
  int signal = 0;
  while (max_steps < 0 || out.steps < max_steps) {
    signal = agreed_stop(team, ranks, log);
    if (signal != 0) break;
    // The data is made outside the step, as the orchestrator would: a forward for the sampler's
    // log-probabilities is no work of the trainer, so it is left out of the interval too.
    const double making = monotonic_seconds();
    std::vector<data::MicroBatch> batches = data::fake_rl_batches(data, out.steps);
    const std::vector<std::vector<float>> logprobs = team.logprobs(batches);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      data::set_inference_logprobs(
          batches[i], [&](const data::MicroBatch&) { return logprobs[i]; }, fake.logprob_noise,
          mix64(mix64(data.seed, static_cast<std::uint64_t>(out.steps)), i));
    }
    const double begin = monotonic_seconds();
    TrainedStep step;
    step.result = team.step(batches);
    if (step.result.stop.has_value()) throw *step.result.stop;  // nothing is ever saved here
    for (const std::string& warning : team.take_product_warnings()) log.warn(warning);
    const double trained = monotonic_seconds();
    if (publishing != nullptr) publishing->publish(team, model.config, out.steps + 1);
    const double end = monotonic_seconds();
    if (step.result.grad_norm == 0) {
      throw runtime_failure(fmt::format("the gradient of step {} is zero", out.steps + 1),
                            "the loss masks rejected every fake rollout",
                            "lower data.fake.logprob_noise, or widen the masks of the section loss");
    }
    step.step = ++out.steps;
    step.step_seconds = trained - begin;
    step.interval_seconds = (end - last_end) - (begin - making);
    last_end = end;
    step.tokens = step.row_tokens = step.result.tokens;
    step.document_lengths = document_lengths(batches);
    step.peak_memory_bytes = team.peak_memory();
    if (out.steps == 1) out.first_loss = step.result.loss;
    out.last_loss = step.result.loss;
    eta.step(end - making);
    reports.log_line(step, eta, log);
    if (watch != nullptr) {
      monitor::Metrics values = step.result.metrics;
      reports.add_metrics(step, nullptr, {}, values);
      if (metrics != nullptr) metrics->write(step.step, values);
      watch->span(fmt::format("step {}", step.step), making, end);
      watch->span("load_data", making, begin, 1);
      watch->span("forward_backward", begin, trained, 1);
      if (publishing != nullptr) watch->span("broadcast_weights", trained, end, 1);
      watch->step(step.step, values);
    }
    if (hooks.on_step) hooks.on_step(step);
  }
  if (metrics != nullptr) metrics->flush();
  out.exit = exit_of(signal);
  if (watch != nullptr) watch->finish(static_cast<int>(out.exit));
  out.first = ranks.first();
  out.memory = memory_row(plan, device.device).second;
  out.seconds = monotonic_seconds() - start;
  return out;
}

}  // namespace

TrainerOutcome train_on_fakes(TrainerConfig& config, const config::Loaded& loaded,
                              const Invocation& invocation, const TrainingHooks& hooks, Logger& log) {
  RankSetup ranks;
  return together(ranks, [&] { return train(config, loaded, invocation, hooks, ranks, log); });
}

}  // namespace rlcpp::app
