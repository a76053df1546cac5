#include "app/orchestrator_run.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/rl_report.h"
#include "app/rl_sampling.h"
#include "app/rl_teacher.h"
#include "app/rl_text.h"
#include "app/run_changes.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_curves.h"
#include "app/run_directory.h"
#include "app/run_rows.h"
#include "app/run_start.h"
#include "app/run_watch.h"
#include "app/weight_link.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/signals.h"
#include "client/engine_team.h"
#include "monitor/step_line.h"
#include "transport/files.h"
#include "transport/offered_weights.h"

namespace rlcpp::app {
namespace {

// Everything of one run between the plan and the end. The state that a later process goes on from is stored
// with each batch, so there is nothing else to save: whoever is killed makes the batch under way once more.
class OrchestratorRun {
 public:
  OrchestratorRun(const OrchestratorConfig& config, const Invocation& invocation, Logger& log)
      : config_(config),
        rl_(config.as_rl()),
        invocation_(invocation),
        log_(log),
        max_steps_(config.max_steps.value_or(-1)) {}

  OrchestratorOutcome run(const config::Loaded& loaded);

 private:
  void prepare();
  void plan_memory();
  void start_or_resume();
  void resume(const transport::FileRolloutSender::State& state);
  bool trainer_is_gone() const { return link_ != nullptr && (link_->failed() || offers_->sender_finished()); }
  bool take_policy(std::int64_t first, std::int64_t last);
  void close_line(bool last);
  void one_step();
  void send(orchestrator::TrainingBatch& batch);
  void sample();
  OrchestratorOutcome finish();
  std::int64_t step() const { return orchestrator_->progress().step; }
  bool looks_at_policies() const {
    return rl_.orchestrator.val.has_value() || rl_.orchestrator.eval.has_value();
  }

  OrchestratorConfig config_;
  RlConfig rl_;  // the same, for what is shared with `rlcpp rl`
  const Invocation& invocation_;
  Logger& log_;
  std::int64_t max_steps_;

  RunModel model_;
  DeviceChoice device_;
  bool absent_ = false;  // a dry run plans for a GPU that is not here
  std::unique_ptr<ThreadPool> pool_;
  ops::Context ctx_, teacher_ctx_;  // each with scratch of its own
  RlText text_;
  std::unique_ptr<orchestrator::Orchestrator> orchestrator_;
  std::unique_ptr<Teacher> teacher_;  // null: none
  rollout::EngineConfig engine_config_;
  MemoryPlan plan_;
  ModelRegions model_regions_;
  model::WeightRegions spare_regions_;
  EngineRegions engine_regions_;

  std::unique_ptr<RunDirectory> directory_;  // null in a dry run
  std::unique_ptr<Arena> arena_;
  ModelMemory memory_;
  model::WeightSet spare_;  // where weights arrive: a policy is taken whole or not at all
  std::unique_ptr<rollout::Engine> engine_;
  std::unique_ptr<client::EngineTeam> client_;
  std::unique_ptr<Sampling> sampling_;
  std::unique_ptr<monitor::MetricsWriter> metrics_;
  std::unique_ptr<RunWatch> watch_;
  std::unique_ptr<transport::FileRolloutSender> sender_;
  std::unique_ptr<transport::WeightReceiver> receiver_;
  transport::OfferedWeightReceiver* offers_ = nullptr;  // the same, where weights come over NCCL
  std::unique_ptr<WeightLink> link_;

  std::string run_;                               // of the trainer; empty: not met yet
  std::optional<transport::Publication> policy_;  // that the engine has
  // The newest step's line, until the policy after it has been looked at.
  std::optional<monitor::Metrics> line_;
  double wait_seconds_ = 0, load_seconds_ = 0;  // for the policy of the batch under way
  monitor::Eta eta_;
  double begin_ = monotonic_seconds(), last_end_ = 0;
  std::int64_t here_ = 0;  // steps of this process
  std::optional<double> reward_;
  int signal_ = 0;
};

void OrchestratorRun::prepare() {
  config_.validate();
  model_ = resolve_model(rl_.trainer.model, config_.run.seed, /*shapes_only=*/true);
  require_positions(model_, rl_.max_model_len_of(), "seq_len");
  teacher_ = make_teacher(rl_.orchestrator.teacher_model, model_, config_.run.seed);
  text_ = open_rl_text(rl_, model_);
  orchestrator_ = make_orchestrator(rl_, text_, log_);
  device_ = invocation_.dry_run ? choose_planned_device(config_.run.device, &absent_)
                                : choose_device(config_.run.device);
  pool_ = std::make_unique<ThreadPool>(static_cast<int>(config_.run.threads));
  const auto context = [&] {
    return run_context(device_.device, *pool_, config_.run.numeric_mode, absent_, model_.config.qkv());
  };
  ctx_ = context();
  if (teacher_ != nullptr) teacher_ctx_ = context();
  require_linkable(config_.weight_broadcast, device_.device);
  plan_memory();
  check_prompts(*orchestrator_, "seq_len", *pool_, log_);
}

void OrchestratorRun::plan_memory() {
  const std::size_t limit = config_.run.memory_limit_bytes(device_.device);
  model_regions_ = plan_policy(ctx_, model_.config, plan_, rl_.max_model_len_of());
  spare_regions_ =
      model::plan_weights(model_.config, plan_, MemoryUse::kWeights, "incoming.", ctx_.compute_type());
  if (teacher_ != nullptr) teacher_->plan(teacher_ctx_, rl_.row_tokens(), rl_.max_model_len_of(), plan_);
  const double rollouts = rollout_bytes(rl_.orchestrator);
  engine_config_ =
      engine_config(rl_, ctx_, model_.config, plan_, limit_beside_rollouts(ctx_, limit, rollouts));
  engine_regions_ = plan_engine(ctx_, model_.config, engine_config_, plan_);
  plan_.require_fits(limit,
                     {fmt::format("--inference.num-pages {}: a smaller cache, fewer completions at once",
                                  engine_config_.num_pages / 2),
                      "--inference.max-batch-tokens: smaller forwards of the engine"});
  require_host_room(
      fmt::format("the rollouts of a step do not fit the memory: batch_size is {} of at most {} tokens",
                  rl_.orchestrator.batch_size, rl_.orchestrator.seq_len),
      rollouts, plan_.total_bytes(), limit, device_.device,
      "lower batch_size, seq_len or inference.num_pages");
}

void OrchestratorRun::start_or_resume() {
  durable::FileLayer& files = durable::system_files();
  arena_ = std::make_unique<Arena>(plan_, device_.device);
  memory_ = make_model(model_.config, *arena_, model_regions_);
  spare_ = model::make_weight_set(model_.config, *arena_, spare_regions_);
  if (teacher_ != nullptr) teacher_->load(teacher_ctx_, *arena_, config_.run.seed);
  engine_ = make_engine(ctx_, model_.config, engine_config_, *arena_, engine_regions_, memory_,
                        text_.token_bytes());
  client_ = std::make_unique<client::EngineTeam>(*engine_);
  orchestrator_->attach(*client_);
  sampling_ = std::make_unique<Sampling>(*orchestrator_, *directory_, log_, max_steps_);
  sender_ =
      std::make_unique<transport::FileRolloutSender>(files, *directory_ / "rollouts", directory_->run_id());
  const std::string broadcasts = broadcasts_of(config_.weight_broadcast, config_.run.output_dir);
  if (config_.weight_broadcast.linked()) {
    auto offers =
        std::make_unique<transport::OfferedWeightReceiver>(files, broadcasts, *directory_ / "rollouts");
    offers_ = offers.get();
    receiver_ = std::move(offers);
  } else {
    receiver_ = std::make_unique<transport::FileWeightReceiver>(broadcasts);
  }
  if (const auto wanted = config_.ckpt.resume_step; wanted.has_value() && *wanted != 0) {
    std::vector<std::string> skipped;
    const auto state = sender_->newest_state(*wanted < 0 ? std::nullopt : std::optional(*wanted), &skipped);
    for (const std::string& reason : skipped) log_.warn("passed over " + reason);
    if (state.has_value()) resume(*state);
  }
  if (const int moved = sender_->set_aside_after(step()); moved > 0)
    log_.warn(fmt::format("set {} later steps of rollouts aside: this run makes them anew", moved));
  metrics_ = std::make_unique<monitor::MetricsWriter>(directory_->path(), kOrchestratorProducer,
                                                      step() == 0 ? 0 : step() + 1);
  watch_ = std::make_unique<RunWatch>(config_.watch,
                                      WatchedRun{kOrchestratorProducer, directory_->path(), step() + 1,
                                                 &plan_, config::to_json(config::describer(config_))},
                                      log_);
  if (offers_ == nullptr) return;
  link_ = std::make_unique<WeightLink>(WeightLink::Side::kOrchestrator, config_.weight_broadcast, broadcasts,
                                       ctx_, model_.config, log_);
  offers_->carry_over(link_->broadcast());
}

void OrchestratorRun::resume(const transport::FileRolloutSender::State& state) {
  const std::string path = transport::step_path(*directory_ / "rollouts", state.step) + "/state.json";
  const auto stored = nlohmann::ordered_json::parse(state.text, nullptr, false);
  if (!stored.is_object() || !stored.contains("run") || !stored.contains("orchestrator") ||
      !stored.contains("metrics") || !stored.contains("configuration")) {
    throw bad_input(path + " is no state of `rlcpp orchestrator`", "it has other content",
                    "resume from an earlier step, or start over with --clean");
  }
  for (const std::string& note : orchestrator_->restore(nlohmann::json::parse(stored["orchestrator"].dump())))
    log_.warn(note);
  for (const Change& change : changes(stored["configuration"].dump(), config_.decisive_json()))
    log_.warn("the configuration has changed since: " + change.text);
  run_ = stored["run"].get<std::string>();
  // A process that was killed between the batch and its line owes the line.
  const auto written = read_curves(directory_->path(), kOrchestratorProducer, {"reward/mean"}).front().x;
  if (std::find(written.begin(), written.end(), static_cast<double>(state.step)) == written.end()) {
    line_.emplace();
    for (const auto& [name, value] : stored["metrics"].items()) {
      line_->set(name, value.is_number() ? value.get<double>() : monitor::kMissing);
    }
  }
  log_.info(fmt::format("resumed behind step {} of {}", state.step, *directory_ / "rollouts"));
}

// Waits for a policy of first <= version <= last unless the engine has one, and takes a newer one if there is
// one. False: a signal came first.
bool OrchestratorRun::take_policy(std::int64_t first, std::int64_t last) {
  const bool enough = policy_.has_value() && policy_->step >= first;
  const std::int64_t from = enough ? policy_->step + 1 : first;
  wait_seconds_ = load_seconds_ = 0;
  if (from > last || (enough && !receiver_->newest(from, last).has_value())) return true;
  const double begin = monotonic_seconds();
  transport::WaitOptions wait = wait_options(config_.weight_broadcast.timeout, log_);
  std::string other;
  wait.stop = [&] {
    const std::string found = receiver_->newest_run();
    if (!run_.empty() && !found.empty() && found != run_) other = found;
    return stop_signal() != 0 || !other.empty() || trainer_is_gone();
  };
  if (link_ != nullptr) wait.poll = std::chrono::milliseconds(2);  // one small file is looked at
  if (enough) {
    // Not awaited: one look, and if none of them verifies the engine keeps what it has.
    wait.stop = [looks = 0]() mutable { return looks++ > 0; };
    wait.poll = std::chrono::milliseconds(0);
  }
  RLCPP_CHECK(engine_->ready_for_weights());  // nothing is under way between batches
  ops::synchronize(ctx_);
  const auto found = transport::await_policy(*receiver_, from, last, model_.config, spare_, memory_.weights,
                                             pool_.get(), wait);
  if (!other.empty() || (found.has_value() && !run_.empty() && found->run != run_)) {
    throw bad_input("the trainer has begun another run",
                    fmt::format("{} is of run {}, and this orchestrator samples for run {}",
                                broadcasts_of(config_.weight_broadcast, config_.run.output_dir),
                                other.empty() ? found->run : other, run_),
                    "start the orchestrator with --clean too");
  }
  wait_seconds_ = monotonic_seconds() - begin;
  // What was sampled so far is stored with its batches.
  if (!found.has_value() && stop_signal() == 0 && trainer_is_gone())
    link_->throw_gone(fmt::format("weights of step {}", from));
  if (!found.has_value()) return enough && stop_signal() == 0;
  const double packing = monotonic_seconds();
  policy_ = *found;
  run_ = policy_->run;
  model::pack_all(ctx_, memory_.packed, memory_.weights);
  ops::synchronize(ctx_);
  client_->set_version(policy_->step);
  load_seconds_ = monotonic_seconds() - packing;
  log_.debug(fmt::format("weights of step {} from {}", policy_->step, policy_->directory));
  return true;
}

// Looks at the policy as it is now, where that is due, and writes the newest step's line.
void OrchestratorRun::close_line(bool last) {
  if (here_ == 0 && !line_.has_value()) {
    monitor::Metrics metrics;
    sampling_->measure({policy_->step, policy_->step, /*start=*/true, false}, metrics);
    if (!metrics.items().empty() && step() == 0) metrics_->write(0, metrics);
    return;
  }
  if (!line_.has_value()) return;
  const auto before = static_cast<std::int64_t>(line_->get("progress/ckpt_step"));
  sampling_->measure({policy_->step, before, /*start=*/false, last}, *line_);
  metrics_->write(step(), *line_);
  watch_->step(step(), *line_);
  line_.reset();
}

void OrchestratorRun::send(orchestrator::TrainingBatch& batch) {
  transport::RolloutBatch out;
  out.run = policy_->run;
  out.step = batch.step;
  out.oldest_version = out.newest_version = batch.version;
  out.policy = policy_->fingerprint;
  out.arithmetic = arithmetic_text(ctx_);
  out.tokens = batch.summary.tokens();
  out.samples = batch.summary.rollouts;
  out.micro_batches = std::move(batch.micro_batches);
  nlohmann::ordered_json state;
  state["run"] = policy_->run;
  state["orchestrator"] = orchestrator_->state();
  state["configuration"] = nlohmann::ordered_json::parse(config_.decisive_json());
  state["metrics"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : batch.metrics.items()) state["metrics"][name] = value;
  sender_->send(std::span(&out, 1), state.dump());
  // What the trainer needs even if it starts again from its newest checkpoint, and the newest state.
  sender_->prune_before(std::min(policy_->replay_from, batch.step),
                        [&](std::int64_t old) { return config_.keeps(old, batch.step); });
}

void OrchestratorRun::one_step() {
  const double begin = monotonic_seconds();
  orchestrator::TrainingBatch batch =
      orchestrator_->next_batch(sampling_->progress_line(fmt::format("sampling step {}", step() + 1)));
  sampling_->end_progress();
  if (batch.micro_batches.empty()) {
    throw runtime_failure(fmt::format("no rollout of step {} can be trained", batch.step),
                          fmt::format("{:.0f} % of them have errors", batch.summary.errors * 100),
                          "look at rollouts/ and the environment's data");
  }
  if (teacher_ != nullptr) batch.metrics.set("time/teacher_logprobs", teacher_->score(batch.micro_batches));
  ++here_;
  sampling_->save_rollouts(batch.step, batch.groups);
  const double end = monotonic_seconds();
  const double interval = end - (last_end_ > 0 ? last_end_ : begin);
  last_end_ = end;
  monitor::Metrics& metrics = batch.metrics;
  metrics.set("batch/async_level", static_cast<double>(batch.step - 1 - batch.version));
  metrics.set("time/step", interval);
  metrics.set("time/wait_for_ckpt", wait_seconds_);
  metrics.set("time/update_weights", load_seconds_);
  metrics.set("time/load_data", batch.pack_seconds);
  metrics.set("perf/throughput", static_cast<double>(batch.summary.tokens()) / interval);
  send(batch);
  line_ = metrics;
  eta_.step(interval);
  monitor::RolloutLine line;
  line.step = batch.step;
  line.max_steps = max_steps_;
  line.reward = batch.summary.reward;
  if (reward_.has_value()) line.reward_change = batch.summary.reward - *reward_;
  line.length = batch.summary.length;
  line.truncated = batch.summary.truncated;
  line.groups = static_cast<double>(batch.summary.groups);
  line.groups_all = static_cast<double>(batch.summary.solved_all);
  line.groups_none = static_cast<double>(batch.summary.solved_none);
  line.generate = (end - begin) / interval;
  line.wait = wait_seconds_ / interval;
  line.seconds = interval;
  line.eta = max_steps_ < 0 ? "-" : eta_.text(max_steps_ - batch.step);
  log_.success(monitor::step_line(line));
  reward_ = batch.summary.reward;
}

void OrchestratorRun::sample() {
  const orchestrator::OrchestratorSection& section = rl_.orchestrator;
  while (max_steps_ < 0 || step() < max_steps_) {
    signal_ = stop_signal();
    if (signal_ != 0) break;
    const std::int64_t lag = std::max<std::int64_t>(step() - section.max_async_level, 0);
    if (!take_policy(lag, section.strict_async_level ? lag : step())) {
      signal_ = stop_signal();
      break;
    }
    close_line(false);
    one_step();
    // Nobody looks at the next policy, so the line need not wait for it.
    if (!looks_at_policies()) close_line(false);
  }
  // The last policy is awaited only to be looked at.
  if (signal_ != 0 || !line_.has_value()) return;
  if (take_policy(max_steps_, max_steps_)) {
    close_line(true);
  } else {
    signal_ = stop_signal();
  }
}

OrchestratorOutcome OrchestratorRun::finish() {
  if (offers_ != nullptr) offers_->finish();
  metrics_->flush();
  OrchestratorOutcome out;
  out.steps = step();
  out.exit = exit_of(signal_);
  watch_->finish(static_cast<int>(out.exit));
  const orchestrator::Progress& progress = orchestrator_->progress();
  const auto rewards = read_curves(directory_->path(), kOrchestratorProducer, {"reward/mean"}).front();
  RunResult result;
  result.title =
      signal_ == 0 ? "Orchestrator finished"
                   : fmt::format("Orchestrator stopped by {} after step {}", signal_name(signal_), out.steps);
  const double seconds = monotonic_seconds() - begin_;
  result.rows = {{"steps", here_ == out.steps ? fmt::format("{}", out.steps)
                                              : fmt::format("{} ({} of them now)", out.steps, here_)}};
  result.values = {{"steps", out.steps}, {"steps_here", here_}};
  if (!rewards.y.empty()) {
    result.rows.push_back({"reward", fmt::format("{:.4f} -> {:.4f}", rewards.y.front(), rewards.y.back())});
    result.values["reward_first"] = rewards.y.front();
    result.values["reward_last"] = rewards.y.back();
    result.curves.push_back({"reward", rewards.y});
  }
  result.rows.push_back({"tokens", monitor::compact(static_cast<double>(progress.total_tokens))});
  result.rows.push_back(
      {"rollouts", fmt::format("{} of {} prompts", progress.total_samples, progress.total_problems)});
  result.rows.push_back({"time", monitor::duration(seconds)});
  result.rows.push_back({"rollouts in", *directory_ / "rollouts"});
  result.values["tokens"] = progress.total_tokens;
  result.values["rollouts"] = progress.total_samples;
  result.values["prompts"] = progress.total_problems;
  result.values["seconds"] = seconds;
  result.values["directory"] = *directory_ / "rollouts";
  if (signal_ != 0) result.next = {continue_command(invocation_.command_line, out.steps > 0)};
  print_result(invocation_.json ? result_json(result) : result_text(result));
  return out;
}

OrchestratorOutcome OrchestratorRun::run(const config::Loaded& loaded) {
  prepare();
  std::optional<CkptSection> ckpt(std::in_place);
  ckpt->resume_step = config_.ckpt.resume_step;
  const RunStart start{"orchestrator", config::describer(config_), loaded, invocation_, config_.run, ckpt,
                       config_.log,
                       /*files=*/true, /*by_checkpoint=*/false};
  directory_ = open_run(start, log_);
  const orchestrator::Environments& environments = orchestrator_->environments();
  const RunFacts facts{device_text(device_, ctx_),
                       model_.text.substr(0, model_.text.find(';')) + "; weights from " +
                           broadcasts_of(config_.weight_broadcast, config_.run.output_dir),
                       data_text(*orchestrator_, rl_),
                       plan_,
                       config_.run.memory_limit_bytes(device_.device),
                       "prompts",
                       [&] { return prompt_listing(environments, text_, 3); },
                       [&] { return prompt_json(environments, text_, 3); },
                       absent_,
                       {},
                       std::string(name_of(ctx_.mode))};
  for (const std::string& shortage : orchestrator_->shortages()) log_.warn(shortage);
  warn_of_idle(config_.inference, log_);
  if (!announce(start, facts, log_)) return {};
  log_.info(fmt::format("every rollout is from one policy, at most {} steps behind the newest",
                        rl_.orchestrator.max_async_level));
  start_or_resume();
  begin_ = monotonic_seconds();
  sample();
  return finish();
}

}  // namespace

OrchestratorOutcome run_orchestrator(OrchestratorConfig config, const config::Loaded& loaded,
                                     const Invocation& invocation) {
  config.place(loaded.origins);
  return with_run(config.run, config.log, invocation, /*saves=*/true,
                  [&](Logger& log) { return OrchestratorRun(config, invocation, log).run(loaded); });
}

}  // namespace rlcpp::app
