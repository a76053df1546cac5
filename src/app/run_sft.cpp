#include "app/run_sft.h"
#include "app/run_bench.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/memory_advice.h"
#include "app/run_checkpoints.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_curves.h"
#include "app/run_directory.h"
#include "app/run_dump.h"
#include "app/run_processes.h"
#include "app/run_rows.h"
#include "app/run_sft_data.h"
#include "app/run_start.h"
#include "app/run_watch.h"
#include "base/signals.h"
#include "monitor/metrics.h"
#include "ops/matmul.h"

namespace rlcpp::app {
namespace {

const char* const kProducer = "trainer";

// Everything of one run between the plan and the end.
class SftRun {
 public:
  SftRun(const SftConfig& config, const Invocation& invocation, const TrainingHooks& hooks, Logger& log)
      : config_(config),
        invocation_(invocation),
        hooks_(hooks),
        log_(log),
        max_steps_(config.max_steps.value_or(-1)) {}

  SftOutcome run(const config::Loaded& loaded);
  const RankSetup& ranks() const { return ranks_; }

 private:
  void prepare();
  void plan_memory();
  void open_directory(const RunStart& start);
  void start_or_resume();
  void train();
  bool one_step();  // false: a signal came while its rows were gathered, nothing was done
  data::LoaderOptions loading() const;
  void report_step(const TrainedStep& step, monitor::Metrics metrics, double load_seconds);
  double validate(std::int64_t step);
  void save(bool wait);
  SftOutcome finish();
  std::vector<std::string> next_commands(bool interrupted) const;
  std::string samples_text() const;

  SftConfig config_;
  const Invocation& invocation_;
  const TrainingHooks& hooks_;
  Logger& log_;
  std::int64_t max_steps_;

  RunModel model_;
  DeviceChoice device_;
  bool absent_ = false;  // a dry run plans for a GPU that is not here
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_;
  SftData data_;
  train::TrainerOptions options_;
  RankSetup ranks_;
  int zero_ = 1;
  RankPlan rank_plan_;  // of each rank

  std::unique_ptr<RunDirectory> directory_;  // null with --bench
  std::unique_ptr<RankTeam> team_;
  std::unique_ptr<Checkpoints> checkpoints_;  // after what it reads
  std::unique_ptr<data::BatchLoader> loader_;
  std::unique_ptr<monitor::MetricsWriter> metrics_;
  std::unique_ptr<RunWatch> watch_;  // null but on the first process

  train::Progress progress_;
  data::PackStatistics packed_;
  double padding_ = 0;
  std::string cursor_;
  monitor::Eta eta_;
  double begin_ = monotonic_seconds(), last_end_ = 0, last_line_ = monotonic_seconds();
  std::int64_t here_ = 0;  // steps of this process
  std::vector<double> losses_;
  std::vector<std::pair<std::int64_t, double>> val_losses_;
  double mfu_of_rate_ = 0;  // MFU at one token/s
  int signal_ = 0;
  std::optional<Error> stop_;  // too many steps in a row were not finite
};

void SftRun::prepare() {
  config_.validate();
  device_ = invocation_.dry_run ? choose_planned_device(config_.run.device, &absent_)
                                : choose_device(config_.run.device);
  ranks_ = find_ranks(config_.dist, device_.device, config_.run.device);
  meet(ranks_, "sft", config::to_json(config::describer(config_)), invocation_.dry_run, log_);
  model_ = resolve_model(config_.model, config_.run.seed, config_.bench.has_value());
  require_trainable_positions(model_, config_.data.seq_len, "data.seq_len");
  device_.device = ranks_.device_of(0);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.run.threads));
  ctx_ = run_context(device_.device, *pool_, config_.run.numeric_mode, absent_, model_.config.qkv());
  if (!absent_) {
    ops::measure_products(ctx_);
    mfu_of_rate_ = reference_mfu(model_.config, device_.device, config_.data.seq_len, 1) / ranks_.count();
  }
  warn_of_idle(config_.dist, ranks_, model_.config.adapters.any(),
               config_.data.batch_size / config_.data.micro_batch_size, log_);
  data_ = open_sft_data(config_, model_, log_);
  // A config.json made by hand rarely says how an answer ends; the tokenizer that the run trains with does.
  if (model_.config.eos_token_ids.empty() && data_.tokenizer != nullptr && data_.tokenizer->eos_id() >= 0) {
    model_.config.eos_token_ids = {data_.tokenizer->eos_id()};
  }

  options_ = trainer_options(config_.model, config_.optim, config_.scheduler, config_.run, config_.max_steps,
                             config_.data.micro_batch_tokens());
  options_.loss.type = "cross_entropy";
  options_.on_micro_batch = [this](std::int64_t done, std::int64_t all) {
    // A long step says once a minute that it is alive.
    if (done == all || monotonic_seconds() - last_line_ < 60) return;
    last_line_ = monotonic_seconds();
    log_.info(
        fmt::format("{}  micro-batch {} of {}", step_counter(progress_.step + 1, max_steps_), done, all));
  };
  plan_memory();
}

void SftRun::plan_memory() {
  const double rows = loading().bytes();
  const std::size_t whole = config_.run.memory_limit_bytes(device_.device);
  const std::size_t limit = ranks_.limit_for_plan(whole);
  AdviceKeys keys;
  keys.parameters = model_.config.parameters();
  keys.rows_have_seq_len = true;
  MemoryLimits limits = memory_limits(device_.device, absent_, limit, rows);
  limits.whole = whole;
  const Plannable now{config_.model, config_.optim, config_.data.seq_len, config_.data.micro_batch_size};
  zero_ = require_rank_memory(ctx_, model_.config, ranks_, now, keys, limits, [&](const Plannable& p) {
    return trainer_options(p.model, p.optim, config_.scheduler, config_.run, config_.max_steps,
                           p.seq_len * p.micro_batch_size);
  });
  options_.sharding = ranks_.sharding(0, zero_);
  rank_plan_ = plan_rank(ctx_, model_.config, options_, config_.data.seq_len);
  require_host_room(fmt::format("the rows of a step do not fit the memory: data.batch_size is {} rows of {} "
                                "tokens",
                                config_.data.batch_size, config_.data.seq_len),
                    rows, rank_plan_.plan.total_bytes(), limit, device_.device,
                    "lower data.batch_size or data.seq_len");
  data_.text += fmt::format("; up to {} of host memory for the rows of a step", monitor::gib(rows));
}

data::LoaderOptions SftRun::loading() const {
  data::LoaderOptions out;
  out.batch_size = config_.data.batch_size;
  out.micro_batch_size = config_.data.micro_batch_size;
  out.seq_len = config_.data.seq_len;
  if (config_.data.pack_function == "stack") out.pack = data::PackFunction::kStack;
  // Several processes stop together, at a step.
  if (ranks_.launch.processes == 1) out.stop = [] { return stop_signal() != 0; };
  return out;
}

void SftRun::open_directory(const RunStart& start) {
  directory_ = open_run(start, log_);
  if (directory_ == nullptr) return;
  options_.dump_dir = directory_->nonfinite();
  checkpoints_ =
      std::make_unique<Checkpoints>(*directory_, config_.ckpt, config_.decisive_json(),
                                    data_.tokenizer != nullptr ? data_.tokenizer->directory() : "", log_);
}

void SftRun::start_or_resume() {
  const std::optional<std::int64_t> resume =
      checkpoints_ != nullptr ? checkpoints_->resume_step() : std::nullopt;
  options_.before_update = [this] {
    if (checkpoints_ != nullptr) checkpoints_->await_read();
  };
  // A checkpoint of adapters does not hold the base.
  const bool fill = !resume.has_value() || model_.config.adapters.any();
  team_ = std::make_unique<RankTeam>(
      ranks_, ctx_,
      RankTeam::Parts{model_, options_, rank_plan_, zero_, config_.run.seed, config_.model.pin_host(), fill});
  if (directory_ != nullptr && ranks_.launch.processes > 1)
    share_run(*team_, ranks_, *directory_, data_.source->fingerprint());
  loader_ = std::make_unique<data::BatchLoader>(data_.source, loading());
  if (resume.has_value()) {
    team_->note("reads a checkpoint");
    const train::Restored restored = checkpoints_->resume(*resume, team_->group(), "data", "sft");
    progress_ = restored.progress;
    cursor_ = restored.extra;
    loader_->restore(cursor_);
  }
  if (checkpoints_ != nullptr) {
    const bool host = device_.device.kind == DeviceKind::kCpu;
    checkpoints_->prepare(team_->group(), host ? rank_plan_.plan.total_bytes() : 0,
                          max_steps_ < 0 ? -1 : max_steps_ - progress_.step);
  }
  if (directory_ != nullptr && ranks_.first()) {
    metrics_ = std::make_unique<monitor::MetricsWriter>(directory_->path(), kProducer, progress_.step + 1);
  }
  if (ranks_.first()) {
    watch_ = std::make_unique<RunWatch>(
        config_.watch,
        WatchedRun{kProducer, directory_ != nullptr ? directory_->path() : "", progress_.step + 1,
                   &rank_plan_.plan, config::to_json(config::describer(config_))},
        log_);
  }
}

double SftRun::validate(std::int64_t step) {
  const double begin = monotonic_seconds();
  const double loss = team_->evaluate(data_.validation);
  val_losses_.emplace_back(step, loss);
  log_.success(fmt::format("{}  validation loss {:.4f}  perplexity {}  {:.2f} s",
                           step_counter(step, max_steps_), loss, monitor::compact(std::exp(loss)),
                           monotonic_seconds() - begin));
  return loss;
}

void SftRun::save(bool wait) {
  if (checkpoints_ == nullptr || !checkpoints_->enabled()) return;
  train::CheckpointContent content;
  content.progress = progress_;
  nlohmann::ordered_json extra;
  extra["data"] = cursor_.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json::parse(cursor_);
  content.extra = extra.dump();
  if (metrics_ != nullptr) metrics_->flush();
  team_->note(fmt::format("saves step {}", progress_.step));
  if (wait) {
    checkpoints_->save(team_->group(), std::move(content));
  } else {
    checkpoints_->begin(team_->group(), std::move(content));
  }
}

void SftRun::report_step(const TrainedStep& step, monitor::Metrics metrics, double load_seconds) {
  if (!ranks_.first()) return;
  const StepReports reports{max_steps_, ranks_.count(), mfu_of_rate_};
  metrics.set("time/load_data", load_seconds);
  reports.add_metrics(step, checkpoints_.get(), config_.run.output_dir, metrics);
  last_line_ = monotonic_seconds();
  if (metrics_ != nullptr) metrics_->write(step.step, metrics);
  watch_->step(step.step, metrics);
  eta_.step(step.interval_seconds);
  reports.log_line(step, eta_, log_);
}

bool SftRun::one_step() {
  const double load_begin = monotonic_seconds();
  team_->note(fmt::format("reads the rows of step {}", progress_.step + 1));
  const data::StepBatch batch = loader_->next();
  if (batch.stopped) return false;
  if (!config_.data.dump.empty() && ranks_.first())
    dump_rows(config_.data.dump, progress_.step + 1, batch.micro_batches);
  const double step_begin = monotonic_seconds();
  TrainedStep step;
  step.result = team_->step(batch.micro_batches);
  for (const std::string& warning : team_->take_product_warnings()) log_.warn(warning);
  const double end = monotonic_seconds();
  cursor_ = batch.cursor;
  progress_.step += 1;
  progress_.total_tokens = batch.statistics.tokens;
  progress_.total_samples = batch.statistics.samples;
  packed_ = batch.statistics;
  padding_ = batch.padding;
  ++here_;
  stop_ = step.result.stop;
  losses_.push_back(step.result.loss);

  step.step = progress_.step;
  step.step_seconds = end - step_begin;
  step.tokens = step.result.tokens;
  step.row_tokens = config_.data.batch_size * config_.data.seq_len;
  step.document_lengths = document_lengths(batch.micro_batches);
  step.peak_memory_bytes = team_->peak_memory();
  monitor::Metrics metrics = step.result.metrics;
  metrics.set("progress/epoch", batch.epoch);
  metrics.set("progress/num_samples", static_cast<double>(batch.statistics.samples));
  metrics.set("progress/num_tokens", static_cast<double>(batch.statistics.tokens));
  metrics.set("progress/padding", batch.padding);
  metrics.set("progress/samples_cut", static_cast<double>(batch.statistics.cut));
  metrics.set("progress/samples_skipped", static_cast<double>(batch.statistics.skipped));
  const bool last = progress_.step == max_steps_;
  if (!data_.validation.empty() && (last || progress_.step % config_.val->interval == 0)) {
    const double loss = validate(progress_.step);
    metrics.set("val/loss", loss);
    metrics.set("val/perplexity", std::exp(loss));
  }
  const double interval_end = monotonic_seconds();
  step.interval_seconds = interval_end - (last_end_ > 0 ? last_end_ : load_begin);
  last_end_ = interval_end;
  if (watch_ != nullptr) {
    watch_->span(fmt::format("step {}", step.step), load_begin, interval_end);
    watch_->span("load_data", load_begin, step_begin, 1);
    watch_->span("forward_backward", step_begin, end, 1);
    if (metrics.has("val/loss")) watch_->span("validation", end, interval_end, 1);
  }
  report_step(step, std::move(metrics), step_begin - load_begin);
  if (hooks_.on_step) hooks_.on_step(step);
  return true;
}

void SftRun::train() {
  if (config_.val.has_value() && config_.val->eval_on_start && progress_.step == 0) {
    const double loss = validate(0);
    monitor::Metrics metrics;
    metrics.set("val/loss", loss);
    metrics.set("val/perplexity", std::exp(loss));
    if (metrics_ != nullptr) metrics_->write(0, metrics);
  }
  while (max_steps_ < 0 || progress_.step < max_steps_) {
    signal_ = agreed_stop(*team_, ranks_, log_);
    if (signal_ != 0) break;
    if (!one_step()) continue;
    if (stop_.has_value())
      save_and_throw(
          *stop_, checkpoints_.get(), [this] { save(true); }, log_);
    if (checkpoints_ == nullptr) continue;
    checkpoints_->poll();
    if (checkpoints_->due(progress_.step) && progress_.step != max_steps_) save(false);
  }
  // A signal before the first step leaves nothing to save.
  if (progress_.step > 0) save(true);
}

std::vector<std::string> SftRun::next_commands(bool interrupted) const {
  std::vector<std::string> next;
  if (directory_ == nullptr || !config_.ckpt.has_value()) return next;
  std::vector<std::string> words = invocation_.command_line;
  if (words.empty()) words = {"rlcpp", "sft"};
  const std::string program = words.front();
  words = as_launched(std::move(words), ranks_);
  if (interrupted) return {continue_command(words, checkpoints_->last_saved().has_value())};
  const std::string weights = checkpoints_->weights_dir();
  if (!weights.empty()) {
    next.push_back(fmt::format("{} rl @ configs/rl/reverse-text.toml --model.name {}", shell_quote(program),
                               shell_quote(weights)));
  }
  if (max_steps_ > 0) next.push_back(longer_command(words, std::max(max_steps_, progress_.step)));
  return next;
}

std::string SftRun::samples_text() const {
  std::string text = fmt::format("{}", progress_.total_samples);
  if (packed_.cut > 0)
    text += fmt::format(", {} of them cut to {} tokens", packed_.cut, config_.data.seq_len);
  if (packed_.skipped > 0)
    text += fmt::format("; {} skipped: their trained tokens lie behind the cut", packed_.skipped);
  if (packed_.rows > 0) text += fmt::format("; rows {:.1f} % full", 100 * (1 - padding_));
  return text;
}

SftOutcome SftRun::finish() {
  SftOutcome out;
  out.steps = progress_.step;
  out.seconds = monotonic_seconds() - begin_;
  out.exit = exit_of(signal_);
  if (!losses_.empty()) {
    out.first_loss = losses_.front();
    out.last_loss = losses_.back();
  }
  if (!val_losses_.empty()) out.val_loss = val_losses_.back().second;
  out.first = ranks_.first();
  if (watch_ != nullptr) watch_->finish(static_cast<int>(out.exit));
  if (directory_ == nullptr || !out.first) return out;
  out.run_dir = directory_->path();
  out.weights_dir = checkpoints_->weights_dir();
  metrics_->flush();

  std::vector<monitor::Curve> curves =
      read_curves(out.run_dir, kProducer, {"loss/mean", "val/loss", "optim/lr", "optim/grad_norm"});
  curves[0].name = "training";
  curves[1].name = "validation";
  RunResult result;
  if (!curves[0].y.empty()) result.curves.push_back({"loss", curves[0].y});
  std::vector<monitor::Curve> shown = {curves[0]};
  if (!curves[1].y.empty()) shown.push_back(curves[1]);
  // A run that was stopped before its first step has nothing to draw.
  const bool drawn = any_point(curves);
  if (drawn) {
    directory_->write("loss.svg", monitor::svg("SFT of " + config_.model.name,
                                               {{"Loss", "step", "nats per token", shown},
                                                {"Learning rate", "step", "", {curves[2]}},
                                                {"Gradient norm", "step", "", {curves[3]}}}));
  }

  const bool interrupted = signal_ != 0;
  result.title = interrupted ? fmt::format("SFT stopped by {} after step {}", signal_name(signal_), out.steps)
                             : "SFT finished";
  result.rows.push_back(
      {"steps",
       fmt::format("{}{}", out.steps, here_ == out.steps ? "" : fmt::format(" ({} of them now)", here_))});
  if (!curves[0].y.empty())
    result.rows.push_back({"loss", fmt::format("{:.4f} -> {:.4f}", curves[0].y.front(), curves[0].y.back())});
  if (out.val_loss.has_value())
    result.rows.push_back({"validation loss", fmt::format("{:.4f}", *out.val_loss)});
  result.rows.push_back({"tokens", monitor::compact(static_cast<double>(progress_.total_tokens))});
  result.rows.push_back({"samples", samples_text()});
  if (const auto skipped = team_->trainer().state().skipped; skipped > 0)
    result.rows.push_back({"steps skipped", fmt::format("{} (not finite)", skipped)});
  result.rows.push_back({"time", monitor::duration(out.seconds)});
  result.rows.push_back(memory_row(rank_plan_.plan, device_.device));
  if (const auto saved = checkpoints_->last_saved())
    result.rows.push_back({"checkpoint", train::step_directory(directory_->checkpoints(), *saved)});
  if (!out.weights_dir.empty()) result.rows.push_back({"weights", out.weights_dir});
  if (!config_.ckpt.has_value()) result.rows.push_back({"weights", "not saved: ckpt is None"});
  if (drawn) result.rows.push_back({"curves", *directory_ / "loss.svg"});
  auto& values = result.values;
  values["steps"] = out.steps;
  values["steps_here"] = here_;
  if (!curves[0].y.empty()) {
    values["loss_first"] = curves[0].y.front();
    values["loss_last"] = curves[0].y.back();
  }
  if (out.val_loss.has_value()) values["val_loss"] = *out.val_loss;
  values["tokens"] = progress_.total_tokens;
  values["samples"] = progress_.total_samples;
  values["steps_skipped"] = team_->trainer().state().skipped;
  values["seconds"] = out.seconds;
  values["planned_memory"] = rank_plan_.plan.total_bytes();
  values["peak_memory"] = team_->peak_memory();
  const auto checkpoint = checkpoints_->last_saved();
  values["checkpoint"] =
      checkpoint ? nlohmann::ordered_json(train::step_directory(directory_->checkpoints(), *checkpoint))
                 : nlohmann::ordered_json();
  values["weights"] =
      out.weights_dir.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(out.weights_dir);
  values["curves"] = drawn ? nlohmann::ordered_json(*directory_ / "loss.svg") : nlohmann::ordered_json();
  result.next = next_commands(interrupted);
  print_result(invocation_.json ? result_json(result) : result_text(result));
  return out;
}

SftOutcome SftRun::run(const config::Loaded& loaded) {
  prepare();
  const RunStart start{
      "sft",       config::describer(config_), loaded, invocation_,   config_.run, config_.ckpt,
      config_.log, !config_.bench.has_value(), true,   ranks_.first()};
  open_directory(start);
  const RunFacts facts{
      device_text(device_, ctx_),
      model_.text,
      data_.text,
      rank_plan_.plan,
      ranks_.limit_for_plan(config_.run.memory_limit_bytes(device_.device)),
      "samples",
      [&] { return sample_listing(data_, config_.data.seq_len, 3, invocation_.colour_stdout); },
      [&] { return sample_json(data_, 3); },
      absent_,
      ranks_text(ranks_, zero_, model_.config.adapters.any())};
  if (!announce(start, facts, log_)) return {.first = ranks_.first()};
  if (hooks_.on_start)
    hooks_.on_start(
        {model_, device_.device, rank_plan_.plan.total_bytes(), ranks_.count(), ranks_.on_this_machine()});
  start_or_resume();
  begin_ = monotonic_seconds();
  train();
  return finish();
}

}  // namespace

SftOutcome run_sft(SftConfig config, const config::Loaded& loaded, const Invocation& invocation,
                   const TrainingHooks& hooks) {
  config.apply_bench();
  return with_run(config.run, config.log, invocation, config.ckpt.has_value() && !config.bench.has_value(),
                  [&](Logger& log) {
                    SftRun run(config, invocation, hooks, log);
                    return together(run.ranks(), [&] { return run.run(loaded); });
                  });
}

}  // namespace rlcpp::app
