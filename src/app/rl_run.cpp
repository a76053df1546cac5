#include "app/rl_run.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/rank_engines.h"
#include "app/rl_audit.h"
#include "app/rl_memory.h"
#include "app/rl_report.h"
#include "app/rl_sampling.h"
#include "app/rl_teacher.h"
#include "app/rl_text.h"
#include "app/run_checkpoints.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_directory.h"
#include "app/run_ranks.h"
#include "app/run_rows.h"
#include "app/run_start.h"
#include "app/run_step_report.h"
#include "app/run_watch.h"
#include "base/error.h"
#include "base/signals.h"
#include "monitor/step_line.h"
#include "ops/matmul.h"
#include "orchestrator/orchestrator.h"

namespace rlcpp::app {
namespace {

// Everything of one run between the plan and the end.
class RlRun {
 public:
  RlRun(const RlConfig& config, const Invocation& invocation, Logger& log)
      : config_(config), invocation_(invocation), log_(log), max_steps_(config.max_steps.value_or(-1)) {}

  ExitCode run(const config::Loaded& loaded);

 private:
  void prepare();
  void plan_memory();
  int zero() const { return static_cast<int>(config_.dist.zero); }
  // What the trainers changed is there for the engines, on every rank.
  void synchronize() {
    team_->group().on_each([](train::Trainer& trainer) { trainer.synchronize(); });
  }
  void open_directory(const RunStart& start);
  void start_or_resume();
  void train();
  void audit(orchestrator::TrainingBatch& batch);
  void one_step();
  void measure(monitor::Metrics& metrics, bool last) {
    sampling_->measure({progress_.step, progress_.step - 1, here_ == 0, last}, metrics);
  }
  void report_step(const TrainedStep& step, const orchestrator::TrainingBatch& batch, double generate_seconds,
                   monitor::Metrics metrics);
  void save(bool wait);
  ExitCode finish();

  RlConfig config_;
  const Invocation& invocation_;
  Logger& log_;
  std::int64_t max_steps_;

  RunModel model_;
  DeviceChoice device_;
  bool absent_ = false;  // a dry run plans for a GPU that is not here
  std::unique_ptr<ThreadPool> pool_;
  // On a GPU trainer, engine and teacher have streams and scratch of their own, since each has planned for
  // the sizes of its own calls; they take turns, and whoever is done waits for the device.
  ops::Context ctx_, engine_ctx_, teacher_ctx_;
  RlText text_;
  std::unique_ptr<orchestrator::Orchestrator> orchestrator_;
  std::unique_ptr<Teacher> teacher_;  // null: none
  train::TrainerOptions options_;
  rollout::EngineConfig engine_config_;
  RankSetup ranks_;
  RankPlan rank_plan_;  // of each rank, with its engine
  EngineRegions engine_regions_;

  std::unique_ptr<RunDirectory> directory_;  // null in a dry run
  std::unique_ptr<RankTeam> team_;
  std::unique_ptr<Checkpoints> checkpoints_;  // after what it reads
  std::unique_ptr<RankEngines> engines_;
  std::unique_ptr<monitor::MetricsWriter> metrics_;
  std::unique_ptr<Sampling> sampling_;
  std::unique_ptr<RunWatch> watch_;

  train::Progress progress_;
  monitor::Eta eta_;
  double begin_ = monotonic_seconds(), last_end_ = 0;
  std::int64_t here_ = 0;         // steps of this process
  std::optional<double> reward_;  // newest
  int signal_ = 0;
  std::optional<Error> stop_;  // too many steps in a row were not finite
};

void RlRun::prepare() {
  config_.validate();
  model_ = resolve_model(config_.trainer.model, config_.run.seed, false);
  require_positions(model_, config_.max_model_len_of(), "orchestrator.seq_len");
  teacher_ = make_teacher(config_.orchestrator.teacher_model, model_, config_.run.seed);
  text_ = open_rl_text(config_, model_);
  orchestrator_ = make_orchestrator(config_, text_, log_);
  device_ = invocation_.dry_run ? choose_planned_device(config_.run.device, &absent_)
                                : choose_device(config_.run.device);
  ranks_ = find_rl_ranks(config_.dist, device_.device, config_.run.device, teacher_ != nullptr);
  device_.device = ranks_.device_of(0);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.run.threads));
  const auto context = [&] {
    return run_context(device_.device, *pool_, config_.run.numeric_mode, absent_, model_.config.qkv());
  };
  ctx_ = context();
  engine_ctx_ = context();
  if (teacher_ != nullptr) teacher_ctx_ = context();
  require_auditable(config_.trainer.audit, ctx_.mode, "trainer.audit");
  require_shared_arithmetic(config_.trainer.model, ctx_.mode, "trainer.model");
  if (!absent_) ops::measure_products(ctx_);
  plan_memory();
  check_prompts(*orchestrator_, "orchestrator.seq_len", *pool_, log_);
}

void RlRun::plan_memory() {
  const RlTrainerSection& trainer = config_.trainer;
  options_ = trainer_options(trainer.model, trainer.optim, trainer.scheduler, config_.run, config_.max_steps,
                             config_.row_tokens());
  options_.loss = trainer.loss;
  options_.sharding = ranks_.sharding(0, zero());
  const std::size_t limit = ranks_.limit_for_plan(config_.run.memory_limit_bytes(device_.device));
  rank_plan_ = plan_rank(ctx_, model_.config, options_, config_.max_model_len_of());
  MemoryPlan& plan = rank_plan_.plan;
  const std::size_t without_teacher = plan.total_bytes();
  if (teacher_ != nullptr)
    teacher_->plan(teacher_ctx_, config_.row_tokens(), config_.max_model_len_of(), plan);
  const std::size_t teacher = plan.total_bytes() - without_teacher;
  // The engine's cache leaves room for the rollouts.
  const double rollouts = rollout_bytes(config_.orchestrator);
  engine_config_ =
      engine_config(config_, engine_ctx_, model_.config, plan, limit_beside_rollouts(ctx_, limit, rollouts));
  engine_regions_ = plan_engine(engine_ctx_, model_.config, engine_config_, plan);
  require_rl_memory(config_, ctx_, model_.config, engine_config_, teacher, options_.sharding,
                    memory_limits(device_.device, absent_, limit, rollouts));
  require_host_room(
      fmt::format("the rollouts of a step do not fit the memory: orchestrator.batch_size is {} of at most {} "
                  "tokens",
                  config_.orchestrator.batch_size, config_.orchestrator.seq_len),
      rollouts, plan.total_bytes(), limit, device_.device,
      "lower orchestrator.batch_size, orchestrator.seq_len or inference.num_pages");
}

void RlRun::open_directory(const RunStart& start) {
  directory_ = open_run(start, log_);
  if (directory_ == nullptr) return;
  options_.dump_dir = directory_->nonfinite();
  checkpoints_ = std::make_unique<Checkpoints>(*directory_, config_.ckpt, config_.decisive_json(),
                                               text_.tokenizer->directory(), log_);
}

void RlRun::start_or_resume() {
  const std::optional<std::int64_t> resume = checkpoints_->resume_step();
  // A checkpoint of adapters does not hold the base.
  const bool fill = !resume.has_value() || model_.config.adapters.any();
  options_.before_update = [this] { checkpoints_->await_read(); };
  team_ = std::make_unique<RankTeam>(ranks_, ctx_,
                                     RankTeam::Parts{model_, options_, rank_plan_, zero(), config_.run.seed,
                                                     config_.trainer.model.pin_host(), fill});
  team_->on_each([&](int local, const RankTeam::Place& place) {
    if (teacher_ != nullptr && local == 0) teacher_->load(teacher_ctx_, place.arena, config_.run.seed);
  });
  engines_ = std::make_unique<RankEngines>(
      *team_,
      RankEngines::Parts{model_.config, engine_config_, engine_regions_, engine_ctx_, text_.token_bytes()});
  orchestrator_->attach(engines_->client());
  sampling_ = std::make_unique<Sampling>(*orchestrator_, *directory_, log_, max_steps_);
  if (resume.has_value()) {
    const train::Restored restored = checkpoints_->resume(*resume, team_->group(), "orchestrator", "rl");
    progress_ = restored.progress;
    const auto state = nlohmann::json::parse(restored.extra);
    for (const std::string& note : orchestrator_->restore(state)) log_.warn(note);
  }
  checkpoints_->prepare(team_->group(),
                        device_.device.kind == DeviceKind::kCpu ? rank_plan_.plan.total_bytes() : 0,
                        max_steps_ < 0 ? -1 : max_steps_ - progress_.step);
  synchronize();
  engines_->client().set_version(progress_.step);
  metrics_ = std::make_unique<monitor::MetricsWriter>(directory_->path(), kRlProducer, progress_.step + 1);
  watch_ =
      std::make_unique<RunWatch>(config_.watch,
                                 WatchedRun{kRlProducer, directory_->path(), progress_.step + 1,
                                            &rank_plan_.plan, config::to_json(config::describer(config_))},
                                 log_);
}

void RlRun::save(bool wait) {
  if (!checkpoints_->enabled()) return;
  train::CheckpointContent content;
  content.progress = progress_;
  content.extra = nlohmann::json{{"orchestrator", orchestrator_->state()}}.dump();
  metrics_->flush();
  if (wait) {
    checkpoints_->save(team_->group(), std::move(content));
  } else {
    checkpoints_->begin(team_->group(), std::move(content));
  }
}

void RlRun::report_step(const TrainedStep& step, const orchestrator::TrainingBatch& batch,
                        double generate_seconds, monitor::Metrics metrics) {
  const StepReports reports{max_steps_, ranks_.count()};
  metrics.set("time/update_weights", 0);  // trainer and engine share them
  metrics.set("time/wait_for_batch", generate_seconds);
  metrics.set("time/load_data", batch.pack_seconds);
  const double publish = metrics.get("time/broadcast_weights");
  metrics.set("time/waiting", std::max(0.0, step.interval_seconds - metrics.get("time/generate_completions") -
                                                metrics.get("time/teacher_logprobs") -
                                                metrics.get("time/audit") - step.step_seconds - publish));
  reports.add_metrics(step, checkpoints_.get(), directory_->path(), metrics);
  metrics_->write(step.step, metrics);
  watch_->step(step.step, metrics);
  eta_.step(step.interval_seconds);
  if (reports.warn_if_skipped(step, log_)) return;
  monitor::RolloutLine line;
  line.step = step.step;
  line.max_steps = max_steps_;
  line.reward = batch.summary.reward;
  if (reward_.has_value()) line.reward_change = batch.summary.reward - *reward_;
  line.mismatch_kl = metrics.get("mismatch_kl/mean", monitor::kMissing);
  line.entropy = metrics.get("entropy/mean", monitor::kMissing);
  line.length = batch.summary.length;
  line.truncated = batch.summary.truncated;
  line.groups = static_cast<double>(batch.summary.groups);
  line.groups_all = static_cast<double>(batch.summary.solved_all);
  line.groups_none = static_cast<double>(batch.summary.solved_none);
  line.generate = generate_seconds / step.interval_seconds;
  line.train = step.step_seconds / step.interval_seconds;
  line.publish = publish / step.interval_seconds;
  line.wait = std::max(0.0, 1.0 - line.generate - line.train - line.publish);
  line.seconds = step.interval_seconds;
  line.eta = max_steps_ < 0 ? "-" : eta_.text(max_steps_ - step.step);
  log_.success(monitor::step_line(line));
}

void RlRun::audit(orchestrator::TrainingBatch& batch) {
  const auto place = [&](std::int64_t document, std::int64_t token) {
    return orchestrator::describe_place(batch, document, token);
  };
  const auto logprobs = [&](const std::vector<data::MicroBatch>& rows) { return team_->logprobs(rows); };
  audit_step(config_.trainer.audit, batch.micro_batches,
             {batch.step, config_.row_tokens(), config_.run.seed, true, place}, logprobs, batch.metrics);
}

void RlRun::one_step() {
  const double begin = monotonic_seconds();
  orchestrator::TrainingBatch batch = orchestrator_->next_batch(
      sampling_->progress_line(fmt::format("sampling step {}", progress_.step + 1)));
  sampling_->end_progress();
  const double generated = monotonic_seconds();
  if (batch.micro_batches.empty()) {
    throw runtime_failure(fmt::format("no rollout of step {} can be trained", batch.step),
                          fmt::format("{:.0f} % of them have errors", batch.summary.errors * 100),
                          "look at rollouts/ and the environment's data");
  }
  if (teacher_ != nullptr) batch.metrics.set("time/teacher_logprobs", teacher_->score(batch.micro_batches));
  // A forward of the engine that nobody waited for is done before the weights change.
  engines_->synchronize();
  audit(batch);
  const double scored = monotonic_seconds();
  TrainedStep step;
  step.result = team_->step(batch.micro_batches);
  synchronize();
  for (const std::string& warning : team_->take_product_warnings()) log_.warn(warning);
  const double trained = monotonic_seconds();
  const auto mismatch = orchestrator::describe_mismatch(batch, step.result.first_mismatch);
  if (mismatch.has_value() && !step.result.skipped && ctx_.mode == ops::NumericMode::kExact) {
    throw runtime_failure("engine and trainer disagree on the probability of a sampled token", *mismatch,
                          "exact mode promises equal bits, so this is an error of rlcpp: please report it "
                          "with the model's config.json");
  }
  progress_.step += 1;
  progress_.total_tokens += batch.summary.tokens();
  progress_.total_samples += batch.summary.rollouts;
  ++here_;
  stop_ = step.result.stop;
  const double broadcast = monotonic_seconds();
  engines_->client().set_version(progress_.step);
  const double broadcast_seconds = monotonic_seconds() - broadcast;

  step.step = progress_.step;
  step.step_seconds = trained - scored;
  step.tokens = batch.summary.tokens();
  sampling_->save_rollouts(step.step, batch.groups);
  monitor::Metrics metrics = batch.metrics;
  metrics.merge(step.result.metrics);
  metrics.set("time/broadcast_weights", broadcast_seconds);
  measure(metrics, step.step == max_steps_);
  step.peak_memory_bytes = team_->peak_memory();
  const double end = monotonic_seconds();
  step.interval_seconds = end - (last_end_ > 0 ? last_end_ : begin);
  last_end_ = end;
  watch_->span(fmt::format("step {}", step.step), begin, end);
  watch_->span("sampling", begin, generated, 1);
  if (teacher_ != nullptr) watch_->span("teacher", generated, scored - metrics.get("time/audit"), 1);
  watch_->span("forward_backward", scored, trained, 1);
  watch_->span("rollouts on disk, evaluation", broadcast, end, 1);
  report_step(step, batch, generated - begin, std::move(metrics));
  reward_ = batch.summary.reward;
}

void RlRun::train() {
  if (max_steps_ < 0 || progress_.step < max_steps_) {
    monitor::Metrics metrics;
    measure(metrics, false);
    if (!metrics.items().empty() && progress_.step == 0) metrics_->write(0, metrics);
  }
  while (max_steps_ < 0 || progress_.step < max_steps_) {
    signal_ = stop_signal();
    if (signal_ != 0) break;
    one_step();
    if (stop_.has_value())
      save_and_throw(
          *stop_, checkpoints_.get(), [this] { save(true); }, log_);
    checkpoints_->poll();
    if (checkpoints_->due(progress_.step) && progress_.step != max_steps_) save(false);
  }
  // A signal before the first step leaves nothing to save.
  if (progress_.step > 0) save(true);
}

ExitCode RlRun::finish() {
  metrics_->flush();
  watch_->finish(static_cast<int>(exit_of(signal_)));
  RlReport report;
  report.run_dir = directory_->path();
  report.weights_dir = checkpoints_->weights_dir();
  if (const auto saved = checkpoints_->last_saved())
    report.checkpoint = train::step_directory(directory_->checkpoints(), *saved);
  report.model = config_.trainer.model.name;
  report.command_line = invocation_.command_line;
  report.signal = signal_;
  report.steps = progress_.step;
  report.steps_here = here_;
  report.max_steps = max_steps_;
  report.skipped = team_->trainer().state().skipped;
  report.saves = config_.ckpt.has_value();
  report.progress = orchestrator_->progress();
  report.seconds = monotonic_seconds() - begin_;
  report.memory = memory_row(rank_plan_.plan, device_.device).second;
  report.planned_memory = rank_plan_.plan.total_bytes();
  report.peak_memory = team_->peak_memory();
  const RlRecord record = read_record(report.run_dir);
  if (record.has_points()) directory_->write("curves.svg", curves_svg(record, report));
  const RunResult result = final_result(record, report);
  print_result(invocation_.json ? result_json(result) : result_text(result));
  return exit_of(signal_);
}

ExitCode RlRun::run(const config::Loaded& loaded) {
  prepare();
  const RunStart start{"rl",       config::describer(config_), loaded, invocation_, config_.run, config_.ckpt,
                       config_.log};
  open_directory(start);
  const orchestrator::Environments& environments = orchestrator_->environments();
  const RunFacts facts{device_text(device_, ctx_),
                       model_.text,
                       data_text(*orchestrator_, config_),
                       rank_plan_.plan,
                       ranks_.limit_for_plan(config_.run.memory_limit_bytes(device_.device)),
                       "prompts",
                       [&] { return prompt_listing(environments, text_, 3); },
                       [&] { return prompt_json(environments, text_, 3); },
                       absent_,
                       ranks_text(ranks_, zero(), model_.config.adapters.any()),
                       std::string(name_of(ctx_.mode))};
  for (const std::string& shortage : orchestrator_->shortages()) log_.warn(shortage);
  warn_of_idle(config_.inference, log_);
  if (!announce(start, facts, log_)) return ExitCode::kDone;
  log_.info("training and sampling take turns: every rollout is from the newest policy");
  if (ctx_.mode == ops::NumericMode::kFast) {
    log_.info(
        "numeric mode fast: engine and trainer round apart, mismatch_kl says how far; the bounds of "
        "trainer.loss "
        "reject what is too far");
  }
  start_or_resume();
  begin_ = monotonic_seconds();
  train();
  return finish();
}

}  // namespace

ExitCode run_rl(RlConfig config, const config::Loaded& loaded, const Invocation& invocation) {
  config.apply_shortcuts(loaded.origins);
  return with_run(config.run, config.log, invocation, config.ckpt.has_value(), [&](Logger& log) {
    return RlRun(config, invocation, log).run(RlConfig::shortcuts_as_origins(loaded));
  });
}

}  // namespace rlcpp::app
