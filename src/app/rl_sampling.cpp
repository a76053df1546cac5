#include "app/rl_sampling.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/format.h>

#include "app/rl_report.h"
#include "app/run_console.h"
#include "base/durable.h"
#include "base/error.h"
#include "orchestrator/rollout_log.h"

namespace rlcpp::app {

rollout::EngineConfig engine_config(const RlConfig& config, const ops::Context& ctx,
                                    const model::ModelConfig& model, const MemoryPlan& planned,
                                    std::size_t limit) {
  const InferenceSection& section = config.inference;
  rollout::EngineConfig out;
  out.max_sequences = section.max_sequences;
  out.max_batch_tokens = section.max_batch_tokens;
  out.page_size = section.page_size;
  out.max_model_len = config.max_model_len_of();
  out.on_new_weights = rollout::weight_change_of(section.on_new_weights, "inference.on_new_weights");
  out.num_pages =
      section.num_pages.has_value() ? *section.num_pages : pages_that_fit(ctx, model, out, planned, limit);
  return out;
}

std::size_t limit_beside_rollouts(const ops::Context& ctx, std::size_t limit, double rollouts) {
  if (ctx.on_gpu()) return limit;
  const auto kept = static_cast<std::size_t>(std::min(rollouts, static_cast<double>(limit)));
  return limit > kept ? limit - kept : std::min<std::size_t>(limit, 1);
}

// A token: id, log-probability, version, whose it is and text as a rollout, five streams as a sample, seven
// in a row, and its numbers in the line that is saved.
double rollout_bytes(const orchestrator::OrchestratorSection& section) {
  const double token = (4 + 4 + 8 + 4 + 4) + (4 + 1 + 4 + 4 + 4) + (6 * 4 + 1) +
                       (section.save_rollouts.has_value() && section.save_rollouts->tokens ? 32 : 0);
  const double rollouts = static_cast<double>(section.batch_size) * section.oversampling_factor;
  return rollouts * (static_cast<double>(section.seq_len) * token +
                     static_cast<double>(sizeof(orchestrator::Rollout) + sizeof(data::Sample)));
}

std::unique_ptr<orchestrator::Orchestrator> make_orchestrator(const RlConfig& config, const RlText& text,
                                                              Logger& log) {
  if (text.stop_ids.empty()) {
    log.warn(
        "neither the tokenizer nor config.json names a token that ends a turn: every completion runs to its "
        "limit");
  }
  orchestrator::Orchestrator::Parts parts;
  parts.codec = text.codec;
  parts.stop_ids = text.stop_ids;
  parts.row_tokens = config.row_tokens();
  parts.eval_groups_in_flight = config.inference.max_sequences;
  return std::make_unique<orchestrator::Orchestrator>(config.seeded_orchestrator(), std::move(parts));
}

namespace {

// Where a progress line goes: lines of the log where there is no terminal, or none at all. The log outlives
// it.
monitor::ProgressOptions progress_options(Logger& log) {
  monitor::ProgressOptions options;
  options.quiet = log.options().level > LogLevel::kInfo;
  options.line = [&log](std::string_view line) { log.info(line); };
  if (log.options().format == LogFormat::kJson) options.terminal = false;
  return options;
}

}  // namespace

void check_prompts(const orchestrator::Orchestrator& orchestrator, const std::string& seq_len_key,
                   ThreadPool& pool, Logger& log) {
  std::optional<monitor::Progress> line;  // only if it takes long enough to be noticed
  const auto begin = std::chrono::steady_clock::now();
  const auto progress = [&](std::int64_t done, std::int64_t of) {
    if (!line.has_value() && std::chrono::steady_clock::now() - begin < std::chrono::seconds(2)) return;
    if (!line.has_value()) line.emplace("checking prompts", of, "prompts", progress_options(log));
    line->update(done);
  };
  const std::vector<std::string> notes = orchestrator.survey(pool, seq_len_key, progress);
  if (line.has_value()) line->finish();
  for (const std::string& note : notes) log.warn(note);
}

orchestrator::ProgressFunction Sampling::progress_line(const std::string& what) {
  return [this, what, options = progress_options(log_)](std::int64_t done, std::int64_t of) {
    if (bar_ == nullptr) bar_ = std::make_unique<monitor::Progress>(what, of, "rollouts", options);
    bar_->update(done);
  };
}

void Sampling::write(const std::string& name, const std::vector<orchestrator::Group>& groups,
                     const orchestrator::Environments& environments, std::int64_t step) const {
  if (!orchestrator_.section().save_rollouts.has_value()) return;
  const orchestrator::SaveRolloutsSection& section = *orchestrator_.section().save_rollouts;
  orchestrator::RolloutLogOptions options;
  options.step = step;
  options.groups = section.groups.value_or(-1);
  options.tokens = section.tokens;
  durable::make_directories(durable::system_files(), directory_ / "rollouts");
  directory_.write("rollouts/" + name, orchestrator::rollout_lines(groups, environments, options));
}

void Sampling::save_rollouts(std::int64_t step, const std::vector<orchestrator::Group>& groups) const {
  const auto& saved = orchestrator_.section().save_rollouts;
  if (!saved.has_value() || step % saved->interval != 0) return;
  write(fmt::format("step_{}.jsonl", step), groups, orchestrator_.environments(), step);
}

void Sampling::measure(const When& when, monitor::Metrics& metrics) {
  const std::int64_t step = when.step;
  const auto due = [&](std::int64_t interval, bool at_start, bool at_end) {
    return (when.start && at_start) || (!when.start && step / interval > when.before / interval) ||
           (when.last && at_end && !when.start);
  };
  const orchestrator::OrchestratorSection& section = orchestrator_.section();
  if (section.val.has_value() &&
      due(section.val->interval, section.val->at_start && step == 0, section.val->at_end)) {
    const auto result = orchestrator_.validate(progress_line("validating"));
    end_progress();
    metrics.merge(result.metrics);
    write(fmt::format("val_step_{}.jsonl", step), result.groups, *orchestrator_.validation_environments(),
          step);
    log_.success(fmt::format("{}  validation reward {:.4f}  {} prompts  {:.2f} s",
                             step_counter(step, max_steps_), result.reward, result.groups.size(),
                             result.seconds));
  }
  if (!section.eval.has_value()) return;
  const bool at_start = step == 0 ? section.eval->eval_base_model : !section.eval->skip_eval_on_resume;
  if (due(section.eval->interval, at_start, true)) {
    const monitor::Metrics result = orchestrator_.evaluate_all(progress_line("evaluating"));
    end_progress();
    metrics.merge(result);
    log_.success(fmt::format("{}  {}", step_counter(step, max_steps_), evaluation_line(result)));
  }
}

void warn_of_idle(const InferenceSection& section, Logger& log) {
  if (section.on_new_weights == InferenceSection().on_new_weights) return;
  log.warn(fmt::format(
      "inference.on_new_weights = \"{}\" changes nothing here: a batch is sampled by one policy, and "
      "nothing is under way when the weights change",
      section.on_new_weights));
}

}  // namespace rlcpp::app
