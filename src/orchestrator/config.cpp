#include "orchestrator/config.h"

#include <fmt/format.h>

#include "base/error.h"
#include "orchestrator/algo/advantage.h"
#include "orchestrator/algo/reply_filter.h"

namespace rlcpp::orchestrator {

void EnvSection::describe(config::Schema& s) {
  s.field("id", id, "Environment: reverse-text, arithmetic or alphabet-sort.");
  s.field("name", name, "Name in metrics and logs; None: the id.");
  s.free_table("args", args,
               "Arguments of the environment, e.g. data, split, holdout, seed (see its documentation).");
}

void SamplingSection::describe(config::Schema& s) {
  s.field("temperature", temperature, "Logits are divided by this, in the engine and in the trainer.")
      .at_least(0.01);
  s.field("stop", stop,
          "Texts that end a completion besides the end-of-turn token; the text itself is kept and trained.");
  s.field("max_tokens", max_tokens, "Longest completion; None: what seq_len leaves.")
      .at_least(1)
      .in("tokens")
      .later("max_completion_tokens")
      .alias("max_completion_length")
      .alias("max_new_tokens");
  s.field("min_tokens", min_tokens, "Shortest completion; training refuses any but 0.")
      .at_least(0)
      .in("tokens");
  s.field("repetition_penalty", repetition_penalty, "Training refuses any but 1.").above(0);
  s.field("top_k", top_k, "Sample from the k likeliest tokens, -1: all; training refuses any but -1.")
      .at_least(-1);
  s.field("top_p", top_p, "Sample from the likeliest tokens of this mass; training refuses any but 1.")
      .above(0)
      .at_most(1);
  s.field("min_p", min_p, "Leave out tokens below this share of the likeliest; training refuses any but 0.")
      .at_least(0)
      .at_most(1);
  s.field("seed", seed, "Seed of the draws; None: orchestrator.seed.");
  s.refused("extra_body",
            "sampling.extra_body belongs to an HTTP server, which `rlcpp rl` does not ask: set top_k, top_p "
            "or min_p")
      .unless({"{}"});
}

rollout::GroupRequest SamplingSection::request(std::int64_t otherwise) const {
  rollout::GroupRequest out;
  out.max_tokens = static_cast<std::int32_t>(max_tokens.value_or(otherwise));
  out.stop_strings = stop;
  out.min_tokens = static_cast<std::int32_t>(min_tokens);
  out.sampling.temperature = static_cast<float>(temperature);
  out.sampling.repetition_penalty = static_cast<float>(repetition_penalty);
  out.sampling.top_k = static_cast<std::int32_t>(top_k);
  out.sampling.top_p = static_cast<float>(top_p);
  out.sampling.min_p = static_cast<float>(min_p);
  return out;
}

void EvalSamplingSection::describe(config::Schema& s) {
  s.field("temperature", temperature, "0: greedy; None: as in training.").at_least(0);
  s.field("max_tokens", max_tokens, "Longest completion; None: as in training.")
      .at_least(1)
      .in("tokens")
      .later("max_completion_tokens");
  s.field("min_tokens", min_tokens, "Shortest completion; None: as in training.").at_least(0).in("tokens");
  s.field("repetition_penalty", repetition_penalty, "None: as in training.").above(0);
  s.field("top_k", top_k, "None: as in training.").at_least(-1);
  s.field("top_p", top_p, "None: as in training.").above(0).at_most(1);
  s.field("min_p", min_p, "None: as in training.").at_least(0).at_most(1);
  s.field("seed", seed, "None: as in training. The same at every evaluation, so that steps compare.");
  s.refused("reasoning_effort",
            "sampling.reasoning_effort belongs to an HTTP server, which `rlcpp rl` does not ask: remove it")
      .unless({"null"});
  s.refused("extra_body",
            "sampling.extra_body belongs to an HTTP server, which `rlcpp rl` does not ask: set top_k, top_p "
            "or min_p")
      .unless({"{}"});
}

SamplingSection EvalSamplingSection::over(const SamplingSection& training) const {
  SamplingSection out = training;
  out.temperature = temperature.value_or(out.temperature);
  if (max_tokens.has_value()) out.max_tokens = max_tokens;
  out.min_tokens = min_tokens.value_or(out.min_tokens);
  out.repetition_penalty = repetition_penalty.value_or(out.repetition_penalty);
  out.top_k = top_k.value_or(out.top_k);
  out.top_p = top_p.value_or(out.top_p);
  out.min_p = min_p.value_or(out.min_p);
  if (seed.has_value()) out.seed = seed;
  return out;
}

void ValSection::describe(config::Schema& s) {
  s.field("num_examples", num_examples, "Prompts, the first of each environment in turn.").at_least(1);
  s.field("rollouts_per_example", rollouts_per_example, "Completions of each prompt.")
      .at_least(1)
      .later("group_size");
  s.field("interval", interval, "Validate before every step that this divides.").at_least(1).in("steps");
  s.field("at_start", at_start, "Validate the policy that the run starts with.");
  s.field("at_end", at_end, "Validate the policy that the run ends with.");
  s.section("sampling", sampling, "How validation samples.");
  s.list("env", env,
         "Environments to validate on; none: the held-out part (args.holdout) of the training environments.");
}

void EvalEnvSection::describe(config::Schema& s) {
  EnvSection::describe(s);
  s.field("num_examples", num_examples, "Prompts of this environment; None: eval.num_examples.").at_least(-1);
  s.field("rollouts_per_example", rollouts_per_example,
          "Completions of each prompt; None: eval.rollouts_per_example.")
      .at_least(1)
      .later("group_size");
  s.field("skip_first", skip_first, "Leave out the first prompts.").at_least(0);
}

void EvalSection::describe(config::Schema& s) {
  s.list("env", env, "Environments to evaluate on.");
  s.section("sampling", sampling, "How the evaluation samples.");
  s.field("num_examples", num_examples, "Prompts of each environment; -1: all.").at_least(-1);
  s.field("rollouts_per_example", rollouts_per_example, "Completions of each prompt: k of avg@k.")
      .at_least(1)
      .later("group_size");
  s.field("interval", interval, "Evaluate before every step that this divides, and at the end.")
      .at_least(1)
      .in("steps");
  s.field("eval_base_model", eval_base_model, "Evaluate the policy that the run starts with.");
  s.field("skip_eval_on_resume", skip_eval_on_resume,
          "A resumed run does not evaluate the policy it starts with again.")
      .later("skip_eval_on_restart");
  s.refused("save", "eval.save does not exist yet: results are in metrics.jsonl and rollouts/")
      .unless({"{}"});
  s.refused("retry", "eval.retry belongs to an HTTP server, which `rlcpp rl` does not ask: remove it");
  s.refused("reasoning_field",
            "eval.reasoning_field belongs to an HTTP server, which `rlcpp rl` does not ask: remove it")
      .unless({"\"reasoning_content\""});
  s.refused("per_rollout", "eval.per_rollout does not exist yet: remove it").unless({"false"});
  s.refused("skip_first_step", "what is evaluated first is eval.eval_base_model: set it to false instead");
  s.refused("retrigger_on_resume",
            "evaluation after a resume is eval.skip_eval_on_resume: set it to false instead");
}

void BufferSection::describe(config::Schema& s) {
  s.field("seed", seed, "Seed of the choice of examples; None: orchestrator.seed.");
  s.field("env_ratios", env_ratios,
          "Share of each environment in the choice; empty: by the number of its examples.");
  s.field("easy_threshold", easy_threshold,
          "Examples with this mean reward or more are not sampled again; None: off.");
  s.field("hard_threshold", hard_threshold,
          "Examples with this mean reward or less are not sampled again; None: off.");
  s.field("easy_fraction", easy_fraction, "Share of the easy examples that a resumed run samples again.")
      .at_least(0)
      .at_most(1);
  s.field("hard_fraction", hard_fraction, "Share of the hard examples that a resumed run samples again.")
      .at_least(0)
      .at_most(1);
  s.field("online_difficulty_filtering", online_difficulty_filtering,
          "Drop groups whose mean reward is exactly 0 or 1, and sample others in their place.");
  s.field("skip_verification", skip_verification, "Score nothing: all rewards are 0.");
  s.refused("hash_keys", "buffer.hash_keys does not exist: examples are matched by environment and prompt")
      .unless({R"(["task","prompt"])", R"(["prompt","task"])"});
}

void EchoRoleSection::describe(config::Schema& s) {
  s.field("alpha", alpha, "Weight of their tokens' cross-entropy.").above(0);
}

void EchoRolesSection::describe(config::Schema& s) {
  s.section("tool", tool, "Answers of tools; None: not trained.");
  s.section("user", user, "Answers of users; None: not trained.");
  for (const char* role : {"system", "assistant"})
    s.refused(role, fmt::format("environments answer as user or tool, never as {}: remove it", role))
        .unless({"null"});
}

RoleWeights EchoRolesSection::weights() const {
  RoleWeights out;
  if (tool.has_value()) out["tool"] = tool->alpha;
  if (user.has_value()) out["user"] = user->alpha;
  return out;
}

void EchoFilterSection::describe(config::Schema& s) {
  s.field(
      "drop", drop,
      "Regular expressions (Ruby's, as in tokenizers: ^ and $ are the ends of a line); tokens with a byte "
      "in a match are not trained.");
  for (const char* key : {"import_path", "kwargs"})
    s.refused(key, "no Python of a configuration is run: name what to leave out in advantage.filter.drop");
}

void AdvantageSection::describe(config::Schema& s) {
  std::string doc = "Advantage of a rollout.";
  std::vector<std::string> names;
  for (const Algorithm& one : algorithms()) {
    names.push_back(one.name);
    doc += fmt::format(" {}: {}.", one.name, one.summary);
  }
  s.field("type", type, doc)
      .one_of(names)
      .no_choice("default", "the reference's default is called grpo here: set grpo, or leave it out")
      .no_choice("opd", "on-policy distillation is a loss here: set loss.type (of the trainer) to distill")
      .no_choice("rae", "it is for several agents that play each other, and environments have one: use grpo")
      .no_choice("custom",
                 "algorithms are files of src/orchestrator/algo, and none is loaded at run time: use one "
                 "that exists");
  s.field("length_weighted_mean", length_weighted_mean,
          "Subtract the mean weighted by completion length instead of the plain mean.");
  s.section("roles", roles, "echo: which messages of environments are trained as text, and how much.");
  s.section("filter", filter, "echo: parts of those messages that are not trained; None: all is trained.");
}

void TeacherModelSection::describe(config::Schema& s) {
  s.field("name", name, "Directory of the teacher, or an id of the hub; it shares the policy's vocabulary.");
  s.refused("lora", "a teacher has no adapters of its own: merge them, as exported weights/step_N have them")
      .unless({"null"});
  s.refused("trust_remote_code",
            "rlcpp never runs code of a model repository: remove teacher_model.model.trust_remote_code")
      .unless({"false"});
}

void TeacherSection::describe(config::Schema& s) {
  s.section("model", model, "The teacher.");
  s.refused("client",
            "the teacher is in this process, no server is asked: remove the section teacher_model.client");
}

void SaveRolloutsSection::describe(config::Schema& s) {
  s.field("interval", interval, "Write the rollouts of every step that this divides.")
      .at_least(1)
      .in("steps");
  s.field("groups", groups, "Groups written of a step; None: all.").at_least(0);
  s.field("tokens", tokens, "Write prompt_ids, completion_ids and logprobs too.");
}

void OrchestratorSection::describe_keys(config::Schema& s) {
  s.field("batch_size", batch_size, "Rollouts of a step.").at_least(1).in("rollouts");
  s.field("rollouts_per_example", rollouts_per_example,
          "Completions of each prompt: the group that shares a baseline, so at least 2 with an advantage.")
      .at_least(1)
      .later("group_size")
      .alias("num_generations");
  s.field("seq_len", seq_len, "Longest prompt and completion together.").at_least(2).in("tokens");
  s.field("oversampling_factor", oversampling_factor,
          "Groups in flight against groups still needed; more than 1 helps when groups are filtered out.")
      .at_least(1)
      .at_most(1000);
  s.field("mask_env_responses", mask_env_responses,
          "Has no effect: what an environment says is never part of the policy's loss.");
  s.field("trajectory_strategy", trajectory_strategy, "One training sample a rollout.")
      .one_of({"interleaved"})
      .no_choice("branching", "a rollout is one sequence, however many turns it has: use interleaved");
  s.field("seed", seed, "Seed of everything drawn here.").at_least(0);
  s.section("sampling", sampling, "How rollouts are sampled.");
  s.list("env", env, "Environments to train on.");
  s.section("eval", eval, "Evaluation on environments of its own; None: off.");
  s.section("val", val, "Validation during training; None: off.");
  s.section("buffer", buffer, "Choice and difficulty of examples.");
  s.section("advantage", advantage,
            "The algorithm that makes advantages of rewards; None: the reward itself.")
      .also = {"algo"};
  s.section("save_rollouts", save_rollouts, "Rollouts as JSON lines in rollouts/step_N.jsonl; None: off.");
  s.refused("max_concurrent", "orchestrator.max_concurrent does not exist: set inference.max_sequences")
      .unless({"null"});
  s.section(
      "teacher_model", teacher_model,
      "A frozen model that says how likely it finds each sampled token, for loss.teacher_tau and loss.type "
      "distill; None: no teacher.");
  s.refused("prime_monitor",
            "the Prime monitor is not supported: metrics are in metrics.jsonl and tensorboard/")
      .unless({"null", "false"});
  s.refused("train", "orchestrator.train is a later layout: name the environments in [[orchestrator.env]]");
  s.refused("filters", "filters of tokens (orchestrator.filters) do not exist: set orchestrator.buffer")
      .unless({"[]", "null"});
  s.refused("renderer", "prompts are rendered by the tokenizer's chat template: set tokenizer.chat_template")
      .unless({"\"auto\""});
  s.refused("collect_inference_metrics", "the engine's figures are in the metrics already: remove the key");
  s.refused("concurrency", "the engine admits what its memory holds: set inference.max_sequences");
}

void OrchestratorSection::describe(config::Schema& s) {
  describe_keys(s);
  s.field("max_async_level", max_async_level,
          "Steps that the sampling policy may lag. Training and sampling take turns: 0 and 1 mean the same, "
          "no lag.")
      .at_least(0)
      .at_most(1);
  s.field("max_off_policy_steps", max_off_policy_steps, "Has no effect: no rollout outlives its policy.")
      .at_least(0);
  s.field("strict_async_level", strict_async_level, "Has no effect: the policy is always the newest.");
  const char* one_process = "belongs to processes apart, and `rlcpp rl` is one process: remove it";
  for (const char* key :
       {"client", "workers_per_env", "weight_broadcast", "rollout_transport", "num_train_workers"})
    s.refused(key, fmt::format("orchestrator.{} {}", key, one_process)).unless({"1"});
  for (const char* key : {"wandb", "heartbeat", "ckpt", "log", "output_dir", "max_steps", "tokenizer"}) {
    s.refused(key,
              fmt::format("there is one process: set {} at the top instead of orchestrator.{}", key, key))
        .unless({"null"});
  }
  s.refused("bench", "there is one process: use --bench at the top").unless({"false", "null"});
  s.refused("model", "trainer and engine share their weights: set model.name at the top");
  s.refused("optim", "the optimizer is the trainer's: set trainer.optim");
}

void OrchestratorSection::describe_process(config::Schema& s) {
  describe_keys(s);
  s.field(
       "max_async_level", max_async_level,
       "Steps that the sampling policy may lag: the rollouts of step N wait for the weights of step N - 1 - "
       "max_async_level. 0: training and sampling take turns, and the result is that of `rlcpp rl`.")
      .at_least(0)
      .at_most(64)
      .in("steps");
  s.field("max_off_policy_steps", max_off_policy_steps, "Has no effect: no rollout outlives its policy.")
      .at_least(0);
  s.field("strict_async_level", strict_async_level,
          "Lag exactly max_async_level steps, even if newer weights are there.");
  s.refused("client", "the engine is in this process, no server is asked: remove the section client");
  for (const char* key : {"workers_per_env", "num_train_workers"})
    s.refused(key,
              fmt::format("{} belongs to processes apart, and environments run in this one: remove it", key))
        .unless({"1"});
}

void OrchestratorSection::place_environments(const config::Origins& origins, const std::string& prefix) {
  const auto place = [&](auto& envs, const std::string& list) {
    for (std::size_t i = 0; i < envs.size(); ++i) {
      const std::string start = fmt::format("{}{}.{}.", prefix, list, i);
      for (auto at = origins.lower_bound(start); at != origins.end() && at->first.starts_with(start); ++at)
        envs[i].places[at->first.substr(start.size())] = at->second;
    }
  };
  place(env, "env");
  if (val.has_value()) place(val->env, "val.env");
  if (eval.has_value()) place(eval->env, "eval.env");
}

namespace {

void require_positive_ratios(const BufferSection& buffer, std::size_t envs) {
  if (buffer.env_ratios.empty()) return;
  if (buffer.env_ratios.size() != envs) {
    throw bad_input("orchestrator.buffer.env_ratios does not fit orchestrator.env",
                    fmt::format("{} ratios for {} environments", buffer.env_ratios.size(), envs),
                    "give one ratio for each");
  }
  for (const double ratio : buffer.env_ratios) {
    if (ratio > 0) continue;
    throw bad_input("orchestrator.buffer.env_ratios must be above 0", fmt::format("one is {}", ratio),
                    "remove the environment instead");
  }
}

template <class Env>
void require_different_names(const std::vector<Env>& envs, const char* key) {
  for (std::size_t i = 0; i < envs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (envs[i].shown() != envs[j].shown()) continue;
      throw bad_input(fmt::format("two environments of {} are called '{}'", key, envs[i].shown()), "",
                      "give each a name of its own");
    }
  }
}

}  // namespace

void OrchestratorSection::validate() const {
  if (batch_size % rollouts_per_example != 0) {
    throw bad_input("orchestrator.batch_size is not a multiple of orchestrator.rollouts_per_example",
                    fmt::format("{} and {}", batch_size, rollouts_per_example),
                    "groups are kept whole: change one of them");
  }
  if (advantage.has_value() && advantage->length_weighted_mean &&
      advantage->type != AdvantageSection{}.type) {
    throw bad_input(
        fmt::format("orchestrator.advantage.type = \"{}\" and length_weighted_mean contradict each other",
                    advantage->type),
        "each names an algorithm", "remove one of them");
  }
  if (rollouts_per_example == 1 && advantage.has_value() && algorithm(advantage->algorithm()).compares) {
    throw bad_input(
        "orchestrator.rollouts_per_example = 1 leaves nothing to learn from",
        "the advantage of a rollout is its reward less the mean of its group, and of one alone that is 0",
        "raise it, or set orchestrator.advantage = \"None\" to train on the rewards themselves");
  }
  if (advantage.has_value() && advantage->filter.has_value()) {
    if (advantage->filter->drop.empty()) {
      throw bad_input("orchestrator.advantage.filter has no pattern", "without one it takes nothing away",
                      "set advantage.filter.drop, or remove the section");
    }
    ReplyFilter(advantage->filter->drop);  // each compiles
  }
  if (env.empty())
    throw bad_input("orchestrator.env is empty", "", "name at least one environment: [[orchestrator.env]]");
  require_different_names(env, "orchestrator.env");
  require_positive_ratios(buffer, env.size());
  const bool uses_rewards = buffer.easy_threshold.has_value() || buffer.hard_threshold.has_value() ||
                            buffer.online_difficulty_filtering;
  if (buffer.skip_verification && uses_rewards) {
    throw bad_input("orchestrator.buffer.skip_verification cannot be used with thresholds or filtering",
                    "without scores all rewards are 0", "remove one of them");
  }
  if (buffer.easy_threshold.has_value() && buffer.hard_threshold.has_value() &&
      *buffer.hard_threshold >= *buffer.easy_threshold) {
    throw bad_input("orchestrator.buffer.hard_threshold is not below easy_threshold",
                    fmt::format("{} and {}", *buffer.hard_threshold, *buffer.easy_threshold), "lower it");
  }
  // The trainer divides logits by the temperature and knows no other transform.
  rollout::require_trainable(sampling.request(1));
  if (sampling.max_tokens.has_value() && *sampling.max_tokens >= seq_len) {
    throw bad_input("orchestrator.sampling.max_tokens leaves no room for a prompt",
                    fmt::format("{} of seq_len {}", *sampling.max_tokens, seq_len),
                    "lower it or raise orchestrator.seq_len");
  }
  if (eval.has_value() && eval->env.empty()) {
    throw bad_input("orchestrator.eval has no environment", "", "name one: [[orchestrator.eval.env]]");
  }
  if (eval.has_value()) require_different_names(eval->env, "orchestrator.eval.env");
  if (val.has_value()) require_different_names(val->env, "orchestrator.val.env");
}

}  // namespace rlcpp::orchestrator
