// The trainer on the rollouts of an orchestrator in another process.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/rl_audit.h"
#include "app/rl_trainer_parts.h"
#include "app/run_bench.h"
#include "app/run_checkpoints.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_curves.h"
#include "app/run_directory.h"
#include "app/run_processes.h"
#include "app/run_start.h"
#include "app/run_watch.h"
#include "app/weight_link.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/signals.h"
#include "monitor/metrics.h"
#include "ops/matmul.h"
#include "transport/files.h"
#include "transport/offered_weights.h"

namespace rlcpp::app {
namespace {

constexpr const char* kProducer = "trainer";

class TrainerRun {
 public:
  TrainerRun(const TrainerConfig& config, const Invocation& invocation, Logger& log)
      : config_(config), invocation_(invocation), log_(log), max_steps_(config.max_steps.value_or(-1)) {}

  TrainerOutcome run(const config::Loaded& loaded);
  const RankSetup& ranks() const { return ranks_; }

 private:
  void prepare();
  void start_or_resume();
  void require_one_sender() const;
  void publish();
  void publish_files(std::int64_t replay_from);
  void offer(std::int64_t replay_from);
  bool orchestrator_is_gone() const { return link_->failed() || offers_->taker_finished(); }
  void look_at_link();
  void save(bool wait);
  bool one_step();
  bool sampled_now(const transport::RolloutBatch& batch) const;
  void audit(const transport::RolloutBatch& batch);
  void require_equal_bits(const transport::RolloutBatch& batch, const train::StepResult& result) const;
  void report_step(const train::StepResult& result, const transport::RolloutBatch& batch, double begin);
  TrainerOutcome finish();

  TrainerConfig config_;
  const Invocation& invocation_;
  Logger& log_;
  std::int64_t max_steps_;

  RunModel model_;
  DeviceChoice device_;
  bool absent_ = false;  // a dry run plans for a GPU that is not here
  std::size_t memory_limit_ = 0;
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_;
  train::TrainerOptions options_;
  RankSetup ranks_;
  int zero_ = 1;
  RankPlan rank_plan_;  // of each rank

  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<RankTeam> team_;
  std::unique_ptr<Checkpoints> checkpoints_;  // after what it reads
  std::unique_ptr<monitor::MetricsWriter> metrics_;
  std::unique_ptr<RunWatch> watch_;  // null but on the first process
  std::unique_ptr<transport::FileRolloutReceiver> receiver_;
  std::unique_ptr<transport::FileWeightSender> sender_;  // one of the two
  std::unique_ptr<transport::OfferedWeightSender> offers_;
  std::unique_ptr<WeightLink> link_;

  std::string run_;  // names this run to the orchestrator, from its first step on
  train::Progress progress_;
  transport::Publication published_;  // the newest
  monitor::Eta eta_;
  double begin_ = monotonic_seconds(), last_end_ = 0;
  monitor::Metrics audit_metrics_;  // of the step; none where it is not due
  double wait_seconds_ = 0, load_seconds_ = 0, train_seconds_ = 0, broadcast_seconds_ = 0;
  std::int64_t here_ = 0;                                                // steps of this process
  std::int64_t fewest_rows_ = std::numeric_limits<std::int64_t>::max();  // of a step
  int signal_ = 0;
  std::optional<Error> stop_;  // too many steps in a row were not finite, or the orchestrator is lost
};

void TrainerRun::prepare() {
  config_.validate();
  device_ = invocation_.dry_run ? choose_planned_device(config_.run.device, &absent_)
                                : choose_device(config_.run.device);
  ranks_ = find_ranks(config_.dist, device_.device, config_.run.device);
  meet(ranks_, "trainer", config::to_json(config::describer(config_)), invocation_.dry_run, log_);
  model_ = resolve_model(config_.model, config_.run.seed, /*shapes_only=*/false);
  device_.device = ranks_.device_of(0);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.run.threads));
  ctx_ = run_context(device_.device, *pool_, config_.run.numeric_mode, absent_, model_.config.qkv());
  require_auditable(config_.audit, ctx_.mode, "audit");
  require_shared_arithmetic(config_.model, ctx_.mode, "model");
  if (!absent_) ops::measure_products(ctx_);
  warn_of_idle(config_.dist, ranks_, model_.config.adapters.any(), /*micro_batches=*/0, log_);
  options_ = trainer_options(config_.model, config_.optim, config_.scheduler, config_.run, config_.max_steps,
                             config_.seq_len());
  options_.loss = config_.loss;
  memory_limit_ = ranks_.limit_for_plan(config_.run.memory_limit_bytes(device_.device));
  zero_ = require_trainer_memory(config_, model_, ctx_, ranks_, absent_, memory_limit_);
  require_one_sender();
  options_.sharding = ranks_.sharding(0, zero_);
  rank_plan_ = plan_rank(ctx_, model_.config, options_, config_.seq_len());
}

// Over NCCL the weights come from one GPU that holds all of them.
void TrainerRun::require_one_sender() const {
  require_linkable(config_.weight_broadcast, device_.device);
  if (!config_.weight_broadcast.linked()) return;
  if (ranks_.launch.processes > 1) {
    throw bad_input("weights go over NCCL from one process",
                    fmt::format("this trainer is {} of them", ranks_.launch.processes),
                    "start one with all GPUs of its machine (--dist.ranks N), or set weight_broadcast.type = "
                    "\"filesystem\"");
  }
  if (zero_ >= 3) {
    throw bad_input("weights go over NCCL from a GPU that holds all of them",
                    "at dist.zero = 3 none does: layers are gathered as they are read",
                    "set --dist.zero 2, or weight_broadcast.type = \"filesystem\"");
  }
}

void TrainerRun::start_or_resume() {
  const std::optional<std::int64_t> resume = checkpoints_->resume_step();
  options_.before_update = [this] { checkpoints_->await_read(); };
  // A checkpoint of adapters does not hold the base.
  const bool fill = !resume.has_value() || model_.config.adapters.any();
  team_ = std::make_unique<RankTeam>(
      ranks_, ctx_,
      RankTeam::Parts{model_, options_, rank_plan_, zero_, config_.run.seed, config_.model.pin_host(), fill});
  if (ranks_.launch.processes > 1) share_run(*team_, ranks_, *directory_, "");
  run_ = directory_->run_id();
  if (resume.has_value()) {
    team_->note("reads a checkpoint");
    const train::Restored restored = checkpoints_->resume(*resume, team_->group(), kProducer, "trainer");
    progress_ = restored.progress;
    run_ = nlohmann::json::parse(restored.extra).value("run", run_);
  }
  checkpoints_->prepare(team_->group(),
                        device_.device.kind == DeviceKind::kCpu ? rank_plan_.plan.total_bytes() : 0,
                        config_.max_steps.has_value() ? *config_.max_steps - progress_.step : -1);
  receiver_ = std::make_unique<transport::FileRolloutReceiver>(
      rollouts_of(config_.rollout_transport, config_.run.output_dir), run_);
  if (ranks_.first()) {
    metrics_ = std::make_unique<monitor::MetricsWriter>(directory_->path(), kProducer, progress_.step + 1);
    watch_ =
        std::make_unique<RunWatch>(config_.watch,
                                   WatchedRun{kProducer, directory_->path(), progress_.step + 1,
                                              &rank_plan_.plan, config::to_json(config::describer(config_))},
                                   log_);
  }
  const std::string broadcasts = *directory_ / "broadcasts";
  if (config_.weight_broadcast.linked()) {
    offers_ = std::make_unique<transport::OfferedWeightSender>(
        durable::system_files(), broadcasts, rollouts_of(config_.rollout_transport, config_.run.output_dir),
        run_);
    link_ = std::make_unique<WeightLink>(WeightLink::Side::kTrainer, config_.weight_broadcast, broadcasts,
                                         ctx_, model_.config, log_);
  } else {
    sender_ = std::make_unique<transport::FileWeightSender>(
        durable::system_files(), broadcasts, run_,
        broadcast_dtype(config_.weight_broadcast, ctx_.compute_type()));
    // Whoever samples waits for these, then goes on from the step that is resumed.
    if (ranks_.first()) sender_->remove_after(progress_.step);
  }
  publish();
  if (stop_.has_value()) throw *stop_;  // nothing to save yet
}

// The weights as they are now.
void TrainerRun::publish() {
  const std::int64_t replay_from =
      checkpoints_->enabled() ? checkpoints_->last_saved().value_or(0) + 1 : progress_.step + 1;
  team_->note(fmt::format("publishes the weights of step {}", progress_.step));
  const double begin = monotonic_seconds();
  if (link_ != nullptr) {
    offer(replay_from);
    // Until they are taken the trainer waits for the orchestrator, as it does for rollouts.
    broadcast_seconds_ = monotonic_seconds() - begin - offers_->waited();
    wait_seconds_ += offers_->waited();
  } else {
    publish_files(replay_from);
    broadcast_seconds_ = monotonic_seconds() - begin;
  }
}

// Then those that nobody may sample from any more go, as in the reference: step N - (max_async_level + 1),
// unless there is a checkpoint of it, whose step may be resumed.
void TrainerRun::publish_files(std::int64_t replay_from) {
  const std::int64_t step = progress_.step;
  published_ = publish_weights(*team_, *sender_, model_.config, step, replay_from);
  if (!ranks_.first()) return;
  sender_->prune_before(step - config_.max_async_level, [&](std::int64_t old) {
    std::error_code ignored;
    return checkpoints_->due(old) &&
           std::filesystem::exists(train::step_directory(directory_->checkpoints(), old), ignored);
  });
}

// Without the orchestrator there is nothing left to do, but what was trained is saved first.
void TrainerRun::offer(std::int64_t replay_from) {
  team_->group().on_each([](train::Trainer& trainer) { trainer.synchronize(); });
  transport::WaitOptions wait = wait_options(config_.weight_broadcast.timeout, log_);
  wait.stop = [this] {
    team_->note("waits for the orchestrator to take weights");
    return stop_signal() != 0 || link_->failed();
  };
  try {
    const auto weights = transport::named_weights(model_.config, team_->group().first().decoder_weights());
    const auto sent = offers_->publish(link_->broadcast(), weights, progress_.step, replay_from, wait);
    if (sent.has_value()) published_ = *sent;
    link_->check();
  } catch (const Error& error) {
    if (!stop_.has_value()) stop_ = error;
  }
}

// Nobody makes rollouts any more if the orchestrator is gone before it has made them all.
void TrainerRun::look_at_link() {
  if (link_ == nullptr || stop_.has_value() || stop_signal() != 0) return;
  try {
    if (orchestrator_is_gone()) link_->throw_gone(fmt::format("rollouts of step {}", progress_.step + 1));
  } catch (const Error& error) {
    stop_ = error;
  }
}

void TrainerRun::save(bool wait) {
  if (!checkpoints_->enabled()) return;
  train::CheckpointContent content;
  content.progress = progress_;
  content.extra = nlohmann::json{{kProducer, {{"run", run_}}}}.dump();
  if (metrics_ != nullptr) metrics_->flush();
  team_->note(fmt::format("saves step {}", progress_.step));
  if (wait) {
    checkpoints_->save(team_->group(), std::move(content));
  } else {
    checkpoints_->begin(team_->group(), std::move(content));
  }
}

// Tokens sampled from exactly the weights that are trained have exactly the probabilities that they were
// sampled with, if both sides compute exactly and nothing was rounded on the way (merging adapters does).
bool TrainerRun::sampled_now(const transport::RolloutBatch& batch) const {
  return ctx_.mode == ops::NumericMode::kExact && batch.arithmetic == arithmetic_text(ctx_) &&
         broadcast_dtype(config_.weight_broadcast, ctx_.compute_type()) == ctx_.compute_type() &&
         batch.oldest_version == published_.step && batch.newest_version == published_.step &&
         batch.policy == published_.fingerprint && !model_.config.adapters.any();
}

// Only the first process knows what it has published, so it alone compares with the engine.
void TrainerRun::audit(const transport::RolloutBatch& batch) {
  const auto place = [&](std::int64_t document, std::int64_t token) {
    std::int64_t rest = document;
    for (const data::MicroBatch& row : batch.micro_batches) {
      if (rest < row.documents()) {
        return fmt::format("step {}, rollout {} of the batch, token {}", batch.step,
                           row.sample_index[static_cast<std::size_t>(rest)], token);
      }
      rest -= row.documents();
    }
    return fmt::format("step {}, document {}, token {}", batch.step, document, token);
  };
  audit_metrics_ = {};
  audit_step(
      config_.audit, batch.micro_batches,
      {batch.step, config_.seq_len(), config_.run.seed, ranks_.first() && sampled_now(batch), place},
      [&](const std::vector<data::MicroBatch>& rows) { return team_->logprobs(rows); }, audit_metrics_);
}

void TrainerRun::require_equal_bits(const transport::RolloutBatch& batch,
                                    const train::StepResult& result) const {
  if (!sampled_now(batch) || !ranks_.first() || result.skipped || !result.first_mismatch.has_value()) return;
  const train::Mismatch& first = *result.first_mismatch;
  throw runtime_failure(
      "engine and trainer disagree on the probability of a sampled token",
      fmt::format("step {}, document {}, token {}: sampled with log-probability {:.9g}, trained with {:.9g}",
                  batch.step, first.document, first.token, first.inference, first.trainer),
      "exact mode promises equal bits: run trainer and orchestrator of the same rlcpp; if they are, this is "
      "an error of rlcpp: please report it with the model's config.json");
}

// False: a signal came while the rollouts were awaited.
bool TrainerRun::one_step() {
  const double begin = monotonic_seconds();
  transport::WaitOptions wait = wait_options(config_.rollout_transport.timeout, log_);
  // Who has forgotten to start the orchestrator hears of it soon; later ones may take their time.
  if (here_ == 0) wait.soft = std::min<std::chrono::milliseconds>(wait.soft, std::chrono::seconds(10));
  if (link_ != nullptr) {
    // The last rollouts come before the word that there will be no others: one more look at the files.
    wait.stop = [this, stop = wait.stop, looks = 0]() mutable {
      return stop() || (orchestrator_is_gone() && looks++ > 0);
    };
  }
  auto batch = receive_together(*receiver_, progress_.step + 1, wait, *team_, ranks_, &signal_, log_);
  const double received = monotonic_seconds();
  if (!batch.has_value()) {
    look_at_link();
    return false;
  }
  require_fitting(*batch, config_, model_.config);
  const auto rows = static_cast<std::int64_t>(batch->micro_batches.size());
  if (rows < fewest_rows_ && rows < ranks_.count()) warn_of_idle_ranks(ranks_, rows, log_);
  fewest_rows_ = std::min(fewest_rows_, rows);
  if (ranks_.first() && batch->newest_version == published_.step && batch->policy != published_.fingerprint) {
    log_.warn(
        fmt::format("the rollouts of step {} were sampled from other weights of step {} than these: "
                    "those of before a change of the configuration",
                    batch->step, published_.step));
  }
  if (here_ == 0 && ranks_.first()) warn_of_arithmetic(*batch, ctx_, log_);
  audit(*batch);
  const double checked = monotonic_seconds();
  const train::StepResult result = team_->step(batch->micro_batches);
  for (const std::string& warning : team_->take_product_warnings()) log_.warn(warning);
  wait_seconds_ = received - begin;
  load_seconds_ = checked - received - audit_metrics_.get("time/audit");
  train_seconds_ = monotonic_seconds() - checked;
  require_equal_bits(*batch, result);
  progress_.step += 1;
  progress_.total_tokens += batch->tokens;
  progress_.total_samples += batch->samples;
  ++here_;
  stop_ = result.stop;
  publish();
  report_step(result, *batch, begin);
  return true;
}

void TrainerRun::report_step(const train::StepResult& result, const transport::RolloutBatch& batch,
                             double begin) {
  if (!ranks_.first()) return;
  const double end = monotonic_seconds();
  const double interval = end - (last_end_ > 0 ? last_end_ : begin);
  last_end_ = end;
  const StepReports reports{
      max_steps_, ranks_.count(),
      reference_mfu(model_.config, device_.device, config_.seq_len(), 1) / ranks_.count()};
  const TrainedStep step{.step = progress_.step,
                         .step_seconds = train_seconds_,
                         .interval_seconds = interval,
                         .tokens = result.tokens,
                         .result = result,
                         .peak_memory_bytes = team_->peak_memory()};
  monitor::Metrics metrics = result.metrics;
  metrics.merge(audit_metrics_);
  metrics.set("batch/async_level", static_cast<double>(batch.step - 1 - batch.oldest_version));
  metrics.set("progress/total_tokens", static_cast<double>(progress_.total_tokens));
  metrics.set("progress/total_samples", static_cast<double>(progress_.total_samples));
  metrics.set("time/wait_for_batch", wait_seconds_);
  metrics.set("time/load_data", load_seconds_);
  metrics.set("time/broadcast_weights", broadcast_seconds_);
  reports.add_metrics(step, checkpoints_.get(), directory_->path(), metrics);
  metrics_->write(progress_.step, metrics);
  watch_->span(fmt::format("step {}", progress_.step), begin, end);
  watch_->span("wait_for_batch", begin, begin + wait_seconds_, 1);
  watch_->span("forward_backward", end - broadcast_seconds_ - train_seconds_, end - broadcast_seconds_, 1);
  watch_->span("broadcast_weights", end - broadcast_seconds_, end, 1);
  watch_->step(progress_.step, metrics);
  eta_.step(interval);
  reports.log_line(step, eta_, log_);
}

TrainerOutcome TrainerRun::finish() {
  TrainerOutcome out;
  out.first = ranks_.first();
  out.steps = progress_.step;
  out.exit = exit_of(signal_);
  out.seconds = monotonic_seconds() - begin_;
  if (!out.first) return out;
  metrics_->flush();
  watch_->finish(static_cast<int>(out.exit));
  const auto losses = read_curves(directory_->path(), kProducer, {"loss/mean"}).front();
  RunResult result;
  result.title = signal_ == 0
                     ? "Trainer finished"
                     : fmt::format("Trainer stopped by {} after step {}", signal_name(signal_), out.steps);
  result.rows = {{"steps", here_ == out.steps ? fmt::format("{}", out.steps)
                                              : fmt::format("{} ({} of them now)", out.steps, here_)}};
  result.values = {{"steps", out.steps}, {"steps_here", here_}};
  if (!losses.y.empty()) {
    out.first_loss = losses.y.front();
    out.last_loss = losses.y.back();
    result.rows.push_back({"loss", fmt::format("{:.4f} -> {:.4f}", out.first_loss, out.last_loss)});
    result.values["loss_first"] = out.first_loss;
    result.values["loss_last"] = out.last_loss;
  }
  const std::int64_t skipped = team_->trainer().state().skipped;
  if (skipped > 0) result.rows.push_back({"steps skipped", fmt::format("{} (not finite)", skipped)});
  result.rows.push_back({"tokens", monitor::compact(static_cast<double>(progress_.total_tokens))});
  result.rows.push_back({"rollouts", fmt::format("{}", progress_.total_samples)});
  result.rows.push_back({"time", monitor::duration(out.seconds)});
  result.rows.push_back(memory_row(rank_plan_.plan, device_.device));
  const std::string checkpoint = checkpoints_->last_directory(), weights = checkpoints_->weights_dir();
  if (!checkpoint.empty()) result.rows.push_back({"checkpoint", checkpoint});
  result.rows.push_back({"weights", !weights.empty()          ? weights
                                    : checkpoints_->enabled() ? "not exported"
                                                              : "not saved: ckpt is None"});
  result.values["steps_skipped"] = skipped;
  result.values["tokens"] = progress_.total_tokens;
  result.values["rollouts"] = progress_.total_samples;
  result.values["seconds"] = out.seconds;
  result.values["checkpoint"] =
      checkpoint.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(checkpoint);
  result.values["weights"] = weights.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(weights);
  if (!losses.y.empty()) result.curves.push_back({"loss", losses.y});
  const std::vector<std::string> words = as_launched(invocation_.command_line, ranks_);
  if (signal_ != 0) {
    result.next = {continue_command(words, !checkpoint.empty())};
  } else if (checkpoints_->enabled() && max_steps_ > 0) {
    result.next = {longer_command(words, std::max(max_steps_, progress_.step))};
  }
  print_result(invocation_.json ? result_json(result) : result_text(result));
  return out;
}

TrainerOutcome TrainerRun::run(const config::Loaded& loaded) {
  prepare();
  const RunStart start{kProducer,   config::describer(config_),
                       loaded,      invocation_,
                       config_.run, config_.ckpt,
                       config_.log, true,
                       true,        ranks_.first()};
  // Exported weights come with the tokenizer, if there is one.
  std::string tokenizer = config_.tokenizer.name.value_or(model_.directory);
  if (config_.tokenizer.name.has_value()) tokenizer = tokenizer_directory(config_.tokenizer, model_);
  directory_ = open_run(start, log_);
  const std::string rollouts = rollouts_of(config_.rollout_transport, config_.run.output_dir);
  const RunFacts facts{
      device_text(device_, ctx_),
      model_.text,
      fmt::format("rollouts of {}, at most {} steps behind; rows of {} tokens", rollouts,
                  config_.max_async_level, config_.seq_len()),
      rank_plan_.plan,
      memory_limit_,
      "samples",
      [] { return std::string("the orchestrator shows its prompts: add --dry-run there\n"); },
      [] { return nlohmann::ordered_json::array(); },
      absent_,
      ranks_text(ranks_, zero_, model_.config.adapters.any())};
  if (!announce(start, facts, log_)) return {.first = ranks_.first()};
  options_.dump_dir = directory_->nonfinite();
  checkpoints_ =
      std::make_unique<Checkpoints>(*directory_, config_.ckpt, config_.decisive_json(), tokenizer, log_);
  start_or_resume();
  begin_ = monotonic_seconds();
  while (max_steps_ < 0 || progress_.step < max_steps_) {
    signal_ = agreed_stop(*team_, ranks_, log_);
    if (signal_ != 0) break;
    if (!one_step() && !stop_.has_value()) continue;
    if (stop_.has_value())
      save_and_throw(
          *stop_, checkpoints_.get(), [this] { save(true); }, log_);
    checkpoints_->poll();
    if (checkpoints_->due(progress_.step) && progress_.step != max_steps_) save(false);
  }
  // A signal before the first step leaves nothing to save.
  if (progress_.step > 0) save(true);
  if (offers_ != nullptr) offers_->finish();
  return finish();
}

}  // namespace

TrainerOutcome train_on_rollouts(const TrainerConfig& config, const config::Loaded& loaded,
                                 const Invocation& invocation, Logger& log) {
  TrainerRun run(config, invocation, log);
  return together(run.ranks(), [&] { return run.run(loaded); });
}

}  // namespace rlcpp::app
