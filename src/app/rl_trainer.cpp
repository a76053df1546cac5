#include "app/rl_trainer.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include <fmt/format.h>

#include "app/memory_advice.h"
#include "app/run_bench.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_directory.h"
#include "app/run_start.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/signals.h"
#include "data/fake_rl.h"
#include "monitor/metrics.h"
#include "monitor/step_line.h"
#include "ops/matmul.h"
#include "train/schedule.h"

namespace rlcpp::app {
void FakeRolloutsSection::describe(config::Schema& s) {
  s.field("batch_size", batch_size, "Rows of a step, a micro-batch each.").at_least(1).in("rows");
  s.field("generate_samples", generate_samples,
          "Several documents of at most seq_len / 8 tokens a row; otherwise one of seq_len.");
  s.field("logprob_noise", logprob_noise,
          "Deviation of the sampler's log-probabilities from the policy's own. The reference draws them from "
          "N(0, 1), which its masks reject whole.")
      .at_least(0)
      .at_most(0.5);
}

void TrainerDataSection::describe(config::Schema& s) {
  s.section("fake", fake, "Made-up rollouts; real ones come from `rlcpp rl`.");
}

void TrainerConfig::describe(config::Schema& s) {
  describe_training(s, "Benchmark: fake rollouts of full length, no files, a table at the end.");
  s.section("data", data, "What is trained on.");
  s.section("loss", loss, "The loss of the policy.");
  s.refused("ckpt", "fake rollouts give nothing worth saving: remove ckpt, or use `rlcpp rl`");
  s.refused("tokenizer", "fake rollouts have no text: remove tokenizer");
  s.refused(
      "weight_broadcast",
      "trainer and engine share their weights in `rlcpp rl`, nothing is broadcast: remove weight_broadcast");
  s.refused("rollout_transport", "rollouts stay in the process of `rlcpp rl`: remove rollout_transport");
  s.refused("max_async_level", "set orchestrator.max_async_level of `rlcpp rl` instead");
  s.refused("max_concurrent_runs",
            "several LoRA runs in one trainer are not supported: remove max_concurrent_runs");
}

void TrainerConfig::apply_bench() {
  if (!bench.has_value()) return;
  if (!data.fake.has_value()) data.fake.emplace();
  if (!max_steps.has_value()) max_steps = kBenchSteps;
}

void TrainerConfig::validate() const {
  if (!data.fake.has_value()) {
    throw bad_input("rlcpp trainer has nothing to train on",
                    "rollouts stay in the process of `rlcpp rl`, no transport exists yet",
                    "add --data.fake for made-up rollouts, or use `rlcpp rl`");
  }
  loss.validate();
  train::validate_schedule(scheduler, optim.lr, max_steps.value_or(-1));
}

TrainerConfig trainer_of(RlConfig config, const config::Origins& origins) {
  config.apply_shortcuts(origins);
  TrainerConfig out;
  out.model = config.trainer.model;
  out.optim = config.trainer.optim;
  out.scheduler = config.trainer.scheduler;
  out.loss = config.trainer.loss;
  out.log = config.log;
  out.bench = config.bench;
  out.max_steps = config.max_steps;
  out.run = config.run;
  out.model.seq_len = config.row_tokens();
  out.data.fake.emplace();
  out.data.fake->batch_size = config.orchestrator.batch_size;
  return out;
}

namespace {

TrainerOutcome train_on_fakes(TrainerConfig& config, const config::Loaded& loaded,
                              const Invocation& invocation, const TrainerHooks& hooks, Logger& log) {
  config.validate();
  const std::int64_t max_steps = config.max_steps.value_or(-1);
  const RunModel model = resolve_model(config.model, config.run.seed, /*shapes_only=*/true);
  require_positions(model, config.seq_len(), "model.seq_len");
  bool absent = false;  // a dry run plans for a GPU that is not here
  const DeviceChoice device = invocation.dry_run ? choose_planned_device(config.run.device, &absent)
                                                 : choose_device(config.run.device);
  ThreadPool pool(static_cast<int>(config.run.threads));
  const ops::Context ctx =
      absent ? ops::planning_context(device.device, pool) : ops::make_context(device.device, pool);
  if (!absent) ops::measure_products(ctx);

  train::TrainerOptions options = trainer_options(config.model, config.optim, config.scheduler, config.run,
                                                  config.max_steps, config.seq_len());
  options.loss = config.loss;
  AdviceKeys keys;
  keys.parameters = model.config.parameters();
  keys.seq_len = "--model.seq-len";
  keys.seq_len_cost = "shorter rows";
  const std::size_t limit = config.run.memory_limit_bytes(device.device);
  require_memory({config.model, config.optim, config.seq_len()}, keys,
                 memory_limits(device.device, absent, limit, 0), [&](const Plannable& p) {
                   MemoryPlan plan;
                   plan_model(ctx, model.config, plan, p.seq_len, p.model.optim_cpu_offload);
                   train::Trainer::plan(ctx, model.config,
                                        trainer_options(p.model, p.optim, config.scheduler, config.run,
                                                        config.max_steps, p.seq_len),
                                        plan);
                   return plan;
                 });
  MemoryPlan plan;
  const ModelRegions model_regions =
      plan_model(ctx, model.config, plan, config.seq_len(), config.model.optim_cpu_offload);
  const auto trainer_regions = train::Trainer::plan(ctx, model.config, options, plan);

  const std::optional<CkptSection> no_ckpt;
  const RunStart run_start{"trainer",  config::describer(config), loaded, invocation, config.run, no_ckpt,
                           config.log, !config.bench.has_value()};
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
      absent};
  if (!announce(run_start, facts, log)) return {};
  if (hooks.on_start) hooks.on_start({model, device.device, plan.total_bytes()});

  const Arena arena(plan, device.device, config.model.pin_host());
  const ModelMemory memory = make_model(model.config, arena, model_regions);
  fill_weights(model, memory.full(), config.run.seed, pool);
  train::Trainer trainer(ctx, model.config, options, arena, trainer_regions, memory.weights, memory.packed,
                         memory.rope, memory.masters);
  std::unique_ptr<monitor::MetricsWriter> metrics;
  if (directory != nullptr) metrics = std::make_unique<monitor::MetricsWriter>(directory->path(), "trainer");

  data::FakeRlOptions data;
  data.micro_batches = fake.batch_size;
  data.seq_len = config.seq_len();
  data.vocab_size = model.config.vocab_size;
  data.generate_samples = fake.generate_samples;
  data.seed = static_cast<std::uint64_t>(config.run.seed);
  TrainerOutcome out;
  const double mfu_of_rate = reference_mfu(model.config, device.device, config.seq_len(), 1);
  monitor::Eta eta;
  const double start = monotonic_seconds();
  double last_end = start;
  while ((max_steps < 0 || out.steps < max_steps) && stop_signal() == 0) {
    // The data is made outside the step, as the orchestrator would: a forward for the sampler's
    // log-probabilities is no work of the trainer, so it is left out of the interval too.
    const double making = monotonic_seconds();
    std::vector<data::MicroBatch> batches = data::fake_rl_batches(data, out.steps);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      data::set_inference_logprobs(
          batches[i], [&](const data::MicroBatch& batch) { return trainer.logprobs(batch); },
          fake.logprob_noise, mix64(mix64(data.seed, static_cast<std::uint64_t>(out.steps)), i));
    }
    const double begin = monotonic_seconds();
    TrainerStep step;
    step.result = trainer.step(batches);
    if (step.result.stop.has_value()) throw *step.result.stop;  // nothing is ever saved here
    for (const std::string& warning : ops::take_product_warnings(ctx)) log.warn(warning);
    const double end = monotonic_seconds();
    if (step.result.grad_norm == 0) {
      throw runtime_failure(fmt::format("the gradient of step {} is zero", out.steps + 1),
                            "the loss masks rejected every fake rollout",
                            "lower data.fake.logprob_noise, or widen the masks of the section loss");
    }
    step.step = ++out.steps;
    step.step_seconds = end - begin;
    step.interval_seconds = (end - last_end) - (begin - making);
    last_end = end;
    step.tokens = step.result.tokens;
    for (const data::MicroBatch& row : batches) {
      for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d)
        step.document_lengths.push_back(row.cu_seqlens[d + 1] - row.cu_seqlens[d]);
    }
    step.peak_memory_bytes = peak_memory_bytes(device.device);
    if (out.steps == 1) out.first_loss = step.result.loss;
    out.last_loss = step.result.loss;
    eta.step(end - making);
    monitor::TrainLine line;
    line.step = step.step;
    line.max_steps = max_steps;
    line.loss = step.result.loss;
    line.grad_norm = step.result.grad_norm;
    line.lr = step.result.lr;
    line.tokens_per_second = static_cast<double>(step.tokens) / step.interval_seconds;
    line.mfu = line.tokens_per_second * mfu_of_rate;
    line.memory_bytes = static_cast<double>(step.peak_memory_bytes);
    line.seconds = step.step_seconds;
    line.eta = max_steps < 0 ? "-" : eta.text(max_steps - step.step);
    log.success(monitor::step_line(line));
    if (metrics != nullptr) {
      monitor::Metrics values = step.result.metrics;
      values.set("time/step", step.interval_seconds);
      values.set("time/forward_backward", step.step_seconds);
      values.set("perf/throughput", line.tokens_per_second);
      if (std::isfinite(line.mfu)) values.set("perf/mfu", 100 * line.mfu);
      values.set("perf/peak_memory", line.memory_bytes / 0x1p30);
      metrics->write(step.step, values);
    }
    if (hooks.on_step) hooks.on_step(step);
  }
  if (metrics != nullptr) metrics->flush();
  out.exit = exit_of(stop_signal());
  out.memory = memory_row(plan, device.device).second;
  out.seconds = monotonic_seconds() - start;
  return out;
}

}  // namespace

TrainerOutcome run_trainer(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation,
                           const TrainerHooks& hooks) {
  config.apply_bench();
  return with_run(config.run, config.log, invocation, /*saves=*/false,
                  [&](Logger& log) { return train_on_fakes(config, loaded, invocation, hooks, log); });
}

int run_trainer_command(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation) {
  config.apply_bench();
  if (!config.bench.has_value()) {
    const TrainerOutcome outcome = run_trainer(config, loaded, invocation);
    if (invocation.dry_run) return static_cast<int>(outcome.exit);
    RunResult result;
    result.title = outcome.exit == ExitCode::kDone ? "Trainer finished" : "Trainer stopped by a signal";
    result.rows = {{"steps", fmt::format("{}", outcome.steps)},
                   {"loss", fmt::format("{:.4f} -> {:.4f}", outcome.first_loss, outcome.last_loss)},
                   {"time", monitor::duration(outcome.seconds)},
                   {"memory", outcome.memory},
                   {"weights", "not saved: fake rollouts"}};
    result.values = {{"steps", outcome.steps},
                     {"loss_first", outcome.first_loss},
                     {"loss_last", outcome.last_loss},
                     {"seconds", outcome.seconds},
                     {"weights", nullptr}};
    print_result(invocation.json ? result_json(result) : result_text(result));
    return static_cast<int>(outcome.exit);
  }
  BenchRun record(*config.bench, {.type = "rl",
                                  .model_name = config.model.name,
                                  .seq_len = config.seq_len(),
                                  .micro_batches = config.data.fake->batch_size,
                                  .ac = ac_text(config.model),
                                  .memory_limit = config.run.memory_limit.value_or("")});
  TrainerHooks hooks;
  hooks.on_start = [&](const TrainerFacts& facts) {
    record.start(facts.model, facts.device, facts.planned_bytes);
  };
  hooks.on_step = [&](const TrainerStep& step) {
    record.step({.step_seconds = step.step_seconds,
                 .interval_seconds = step.interval_seconds,
                 .tokens = step.tokens,
                 .document_lengths = step.document_lengths,
                 .loss = step.result.loss,
                 .grad_norm = step.result.grad_norm,
                 .peak_memory_bytes = step.peak_memory_bytes});
  };
  const TrainerOutcome outcome = run_trainer(config, loaded, invocation, hooks);
  if (outcome.exit == ExitCode::kDone && !invocation.dry_run) record.finish(invocation.json);
  return static_cast<int>(outcome.exit);
}

}  // namespace rlcpp::app
