#include "orchestrator/orchestrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_problem.h"
#include "orchestrator/batch.h"

namespace rlcpp::orchestrator {
namespace {

constexpr int kStateFormat = 1;

const Algorithm& algorithm_of(const OrchestratorSection& section) {
  return algorithm(section.advantage.has_value() ? section.advantage->algorithm() : "raw_reward");
}

std::vector<Buffer::Source> sources(const Environments& environments) {
  std::vector<Buffer::Source> out;
  for (std::int64_t env = 0; env < environments.count(); ++env) {
    out.push_back(
        {environments.name(env), environments.at(env).size(), [&environments, env](std::int64_t index) {
           return environments.fingerprint({env, index});
         }});
  }
  return out;
}

SchedulerOptions scheduler_options(const OrchestratorSection& section, const Orchestrator::Parts& parts) {
  SchedulerOptions out;
  out.batch_size = section.batch_size;
  out.rollouts_per_example = section.rollouts_per_example;
  out.oversampling_factor = section.oversampling_factor;
  out.seq_len = section.seq_len;
  out.sampling = section.sampling;
  out.stop_ids = parts.stop_ids;
  out.skip_verification = section.buffer.skip_verification;
  out.seed = static_cast<std::uint64_t>(section.seed);
  out.wait = parts.wait;
  return out;
}

std::optional<Environments> validation_environments_of(const OrchestratorSection& section,
                                                       const TextCodec& codec) {
  if (!section.val.has_value()) return std::nullopt;
  return Environments(section.val->env.empty() ? held_out(section.env) : section.val->env, codec);
}

std::optional<Environments> evaluation_environments_of(const OrchestratorSection& section,
                                                       const TextCodec& codec) {
  if (!section.eval.has_value()) return std::nullopt;
  return Environments({section.eval->env.begin(), section.eval->env.end()}, codec);
}

ReplyFilter reply_filter_of(const OrchestratorSection& section) {
  if (!section.advantage.has_value() || !section.advantage->filter.has_value()) return {};
  return ReplyFilter(section.advantage->filter->drop);
}

// Without a reply of such a role echo would be grpo, and say nothing.
void require_trained_replies(const Environments& environments, const RoleWeights& roles) {
  std::string said;
  for (std::int64_t env = 0; env < environments.count(); ++env) {
    for (const std::string& role : environments.at(env).reply_roles()) {
      if (environments.at(env).max_turns() > 1 && roles.contains(role)) return;
      if (environments.at(env).max_turns() > 1 && said.find(role) == std::string::npos)
        said += (said.empty() ? "" : ", ") + role;
    }
  }
  std::string wanted;
  for (const auto& [role, alpha] : roles) wanted += (wanted.empty() ? "" : ", ") + role;
  throw bad_input(
      "orchestrator.advantage.type = \"echo\" has nothing to train as text",
      fmt::format("it trains messages of the roles: {}; the environments answer as: {}",
                  wanted.empty() ? "none" : wanted, said.empty() ? "none, they have one turn" : said),
      said.empty() ? "use an environment of several turns, or grpo"
                   : "set orchestrator.advantage.roles." + said.substr(0, said.find(',')) + ".alpha");
}

const OrchestratorSection& checked(const OrchestratorSection& section) {
  section.validate();
  return section;
}

}  // namespace

Orchestrator::Orchestrator(const OrchestratorSection& section, Parts parts)
    : section_(checked(section)),
      parts_(std::move(parts)),
      environments_(section_.env, parts_.codec, reply_filter_of(section_)),
      val_(validation_environments_of(section_, parts_.codec)),
      eval_(evaluation_environments_of(section_, parts_.codec)),
      algorithm_(algorithm_of(section_)),
      buffer_(section_.buffer, sources(environments_), static_cast<std::uint64_t>(section_.seed)) {
  RLCPP_CHECK(parts_.row_tokens >= section_.seq_len);
  if (!algorithm_.trains_replies) return;
  roles_ = section_.advantage->roles.weights();
  require_trained_replies(environments_, roles_);
}

void Orchestrator::attach(client::PolicyClient& client) {
  client_ = &client;
  scheduler_ =
      std::make_unique<Scheduler>(client, environments_, buffer_, scheduler_options(section_, parts_));
}

TrainingBatch Orchestrator::next_batch(const ProgressFunction& progress) {
  RLCPP_CHECK(scheduler_ != nullptr);
  const auto start = std::chrono::steady_clock::now();
  TrainingBatch out;
  out.step = progress_.step + 1;
  out.version = client_->version();
  Scheduler::Batch collected = scheduler_->collect(progress);
  out.score_seconds = collected.score_seconds;
  out.groups = std::move(collected.groups);
  const auto packing = std::chrono::steady_clock::now();
  set_advantages(out.groups, algorithm_);
  std::vector<data::Sample> samples;
  for (const Group& group : out.groups) {
    for (const Rollout& rollout : group.rollouts) {
      const bool current = std::all_of(rollout.versions.begin(), rollout.versions.end(),
                                       [&](std::int64_t version) { return version == out.version; });
      RLCPP_CHECK(current);
      samples.push_back(make_sample(group, rollout, section_.sampling.temperature, section_.seq_len,
                                    static_cast<std::int64_t>(samples.size()), roles_));
    }
  }
  out.micro_batches = pack_rows(samples, parts_.row_tokens);
  out.pack_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - packing).count();
  out.summary = summarise(out.groups);
  out.generate_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  progress_.step += 1;
  progress_.total_tokens += out.summary.tokens();
  progress_.total_samples += out.summary.rollouts;
  progress_.total_problems += out.summary.groups;
  monitor::Metrics& m = out.metrics;
  m = batch_metrics(out.groups, environments_);
  m.set("batch/async_level", 0);
  m.set("batch/off_policy_level/mean", 0);
  m.set("batch/off_policy_level/max", 0);
  m.set("batch/off_policy_level/min", 0);
  m.set("batch/cancelled_rollouts", static_cast<double>(collected.cancelled_rollouts));
  m.set("batch/dropped_groups", static_cast<double>(collected.dropped_groups));
  m.set("error/prompt_too_long", static_cast<double>(collected.too_long));
  m.merge(buffer_.metrics());
  m.set("progress/tokens", static_cast<double>(out.summary.tokens()));
  m.set("progress/samples", static_cast<double>(out.summary.rollouts));
  m.set("progress/problems", static_cast<double>(out.summary.groups));
  m.set("progress/total_tokens", static_cast<double>(progress_.total_tokens));
  m.set("progress/total_samples", static_cast<double>(progress_.total_samples));
  m.set("progress/total_problems", static_cast<double>(progress_.total_problems));
  m.set("progress/ckpt_step", static_cast<double>(out.version));
  m.set("time/generate_completions", out.generate_seconds);
  m.set("time/score", out.score_seconds);
  return out;
}

EvaluationOptions Orchestrator::evaluation_options(const EvalSamplingSection& sampling) const {
  EvaluationOptions out;
  out.seq_len = section_.seq_len;
  out.groups_in_flight = parts_.eval_groups_in_flight;
  out.sampling = sampling.over(section_.sampling);
  out.stop_ids = parts_.stop_ids;
  out.seed = static_cast<std::uint64_t>(section_.seed);
  out.wait = parts_.wait;
  return out;
}

Orchestrator::Validation Orchestrator::validate(const ProgressFunction& progress) {
  RLCPP_CHECK(val_.has_value() && client_ != nullptr);
  EvaluationOptions options = evaluation_options(section_.val->sampling);
  options.rollouts_per_example = section_.val->rollouts_per_example;
  Validation out;
  const std::int64_t envs = val_->count();
  for (std::int64_t env = 0; env < envs; ++env) {
    options.num_examples = validation_share(env);
    EvaluationResult result = evaluate(*client_, *val_, env, options, progress);
    out.seconds += result.seconds;
    out.metrics.set("val_reward/" + val_->name(env), result.reward);
    std::move(result.groups.begin(), result.groups.end(), std::back_inserter(out.groups));
  }
  out.reward = summarise(out.groups).reward;
  out.metrics.set("val_reward/mean", out.reward);
  out.metrics.set("time/validation", out.seconds);
  return out;
}

std::int64_t Orchestrator::validation_share(std::int64_t env) const {
  const std::int64_t all = section_.val->num_examples, envs = val_->count();
  return all / envs + (env < all % envs ? 1 : 0);
}

std::int64_t Orchestrator::validation_examples() const {
  RLCPP_CHECK(val_.has_value());
  std::int64_t sum = 0;
  for (std::int64_t env = 0; env < val_->count(); ++env)
    sum += std::min(validation_share(env), val_->at(env).size());
  return sum;
}

std::int64_t Orchestrator::eval_examples(std::int64_t env) const {
  const EvalEnvSection& own = section_.eval->env[static_cast<std::size_t>(env)];
  return own.num_examples.value_or(section_.eval->num_examples);
}

std::vector<std::string> Orchestrator::shortages() const {
  std::vector<std::string> out;
  if (val_.has_value() && validation_examples() < section_.val->num_examples) {
    std::string sizes;
    for (std::int64_t env = 0; env < val_->count(); ++env)
      sizes += fmt::format("{}{} has {}", env == 0 ? "" : ", ", val_->name(env), val_->at(env).size());
    out.push_back(fmt::format("orchestrator.val.num_examples is {}, but {}: validation is on {} prompts",
                              section_.val->num_examples, sizes, validation_examples()));
  }
  if (!eval_.has_value()) return out;
  for (std::int64_t env = 0; env < eval_->count(); ++env) {
    const EvalEnvSection& own = section_.eval->env[static_cast<std::size_t>(env)];
    const std::int64_t wanted = eval_examples(env);
    const std::int64_t there = evaluated_tasks(-1, own.skip_first, eval_->at(env).size()).count();
    if (there > 0 && there >= wanted) continue;
    out.push_back(fmt::format("the evaluation on {} is to use {} prompts{}, but {} has {}: it uses {}",
                              eval_->name(env), wanted < 0 ? "all" : std::to_string(wanted),
                              own.skip_first > 0 ? fmt::format(" behind the first {}", own.skip_first) : "",
                              eval_->name(env), eval_->at(env).size(), there));
  }
  return out;
}

monitor::Metrics Orchestrator::evaluate_all(const ProgressFunction& progress) {
  RLCPP_CHECK(eval_.has_value() && client_ != nullptr);
  monitor::Metrics out;
  EvaluationOptions options = evaluation_options(section_.eval->sampling);
  for (std::int64_t env = 0; env < eval_->count(); ++env) {
    const EvalEnvSection& own = section_.eval->env[static_cast<std::size_t>(env)];
    options.num_examples = eval_examples(env);
    options.rollouts_per_example = own.rollouts_per_example.value_or(section_.eval->rollouts_per_example);
    options.skip_first = own.skip_first;
    out.merge(evaluation_metrics(evaluate(*client_, *eval_, env, options, progress), eval_->name(env)));
  }
  return out;
}

nlohmann::json Orchestrator::state() const {
  RLCPP_CHECK(scheduler_ != nullptr);
  return {{"format", kStateFormat},
          {"step", progress_.step},
          {"total_tokens", progress_.total_tokens},
          {"total_samples", progress_.total_samples},
          {"total_problems", progress_.total_problems},
          {"next_group", scheduler_->next_group()},
          {"buffer", buffer_.state()}};
}

std::vector<std::string> Orchestrator::restore(const nlohmann::json& state) {
  RLCPP_CHECK(scheduler_ != nullptr);
  try {
    if (state.at("format").get<int>() != kStateFormat) {
      throw bad_input("the checkpoint's orchestrator state has another format", "",
                      "resume with the version that wrote it");
    }
    progress_.step = state.at("step").get<std::int64_t>();
    progress_.total_tokens = state.at("total_tokens").get<std::int64_t>();
    progress_.total_samples = state.at("total_samples").get<std::int64_t>();
    progress_.total_problems = state.at("total_problems").get<std::int64_t>();
    scheduler_->set_next_group(state.at("next_group").get<std::int64_t>());
    return buffer_.restore(state.at("buffer"));
  } catch (const nlohmann::json::exception& e) {
    throw bad_input("the checkpoint's orchestrator state cannot be read", json_problem(e),
                    "resume from an earlier step");
  }
}

std::string describe_place(const TrainingBatch& batch, std::int64_t of_step, std::int64_t token) {
  // Documents are counted through the micro-batches in their order.
  std::int64_t document = of_step;
  for (const data::MicroBatch& row : batch.micro_batches) {
    if (document >= row.documents()) {
      document -= row.documents();
      continue;
    }
    std::int64_t rollout = row.sample_index[static_cast<std::size_t>(document)];
    for (const Group& group : batch.groups) {
      if (rollout >= static_cast<std::int64_t>(group.rollouts.size())) {
        rollout -= static_cast<std::int64_t>(group.rollouts.size());
        continue;
      }
      const Rollout& found = group.rollouts[static_cast<std::size_t>(rollout)];
      const std::int64_t at = token - group.prompt_length();
      if (at < 0) {
        return fmt::format("step {}, rollout {} (group {}, sample {}), prompt token {} (id {})", batch.step,
                           found.id, group.id, found.sample, token,
                           group.prompt_ids.at(static_cast<std::size_t>(token)));
      }
      return fmt::format("step {}, rollout {} (group {}, sample {}), completion token {} (id {})", batch.step,
                         found.id, group.id, found.sample, at, found.ids.at(static_cast<std::size_t>(at)));
    }
  }
  return fmt::format("step {}, document {}, token {}", batch.step, of_step, token);
}

std::optional<std::string> describe_mismatch(const TrainingBatch& batch,
                                             const std::optional<train::Mismatch>& first) {
  if (!first.has_value()) return std::nullopt;
  return fmt::format("{}: sampled with log-probability {:.9g}, trained with {:.9g}",
                     describe_place(batch, first->document, first->token), first->inference, first->trainer);
}

}  // namespace rlcpp::orchestrator
