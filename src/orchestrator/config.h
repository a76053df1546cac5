// The `orchestrator` section: names and defaults of the reference (prime-rl orchestrator/config.py, January
// 2026). What it knows and we do not is refused by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config/load.h"
#include "base/config/schema.h"
#include "env/environment.h"
#include "orchestrator/algo/echo.h"
#include "rollout/request.h"

namespace rlcpp::orchestrator {

struct EnvSection {
  std::string id = "reverse-text";
  std::string args;  // JSON object
  std::optional<std::string> name;
  env::Places places;  // no key: where `id` and `args` were given, for errors
  void describe(config::Schema& s);
  const std::string& shown() const { return name.has_value() ? *name : id; }
};

struct SamplingSection {
  double temperature = 1.0;
  std::optional<std::int64_t> max_tokens;
  std::int64_t min_tokens = 0;
  double repetition_penalty = 1.0, top_p = 1.0, min_p = 0.0;
  std::int64_t top_k = -1;
  std::optional<std::int64_t> seed;
  std::vector<std::string> stop;
  void describe(config::Schema& s);
  // The request fields that these decide; max_tokens: `otherwise` if None.
  rollout::GroupRequest request(std::int64_t otherwise) const;
};

// Sampling of an evaluation: what is None is taken from the training's sampling.
struct EvalSamplingSection {
  std::optional<double> temperature, repetition_penalty, top_p, min_p;
  std::optional<std::int64_t> max_tokens, min_tokens, top_k, seed;
  void describe(config::Schema& s);
  SamplingSection over(const SamplingSection& training) const;
};

struct ValSection {
  std::int64_t num_examples = 16, rollouts_per_example = 1, interval = 10;
  bool at_start = true, at_end = true;
  EvalSamplingSection sampling;
  std::vector<EnvSection> env;  // empty: the held-out part of the training environments
  void describe(config::Schema& s);
};

struct EvalEnvSection : EnvSection {
  std::optional<std::int64_t> num_examples, rollouts_per_example;
  std::int64_t skip_first = 0;
  void describe(config::Schema& s);
};

struct EvalSection {
  std::vector<EvalEnvSection> env;
  EvalSamplingSection sampling;
  std::int64_t num_examples = -1, rollouts_per_example = 1, interval = 100;
  bool eval_base_model = true, skip_eval_on_resume = true;
  void describe(config::Schema& s);
};

struct BufferSection {
  std::optional<std::int64_t> seed;
  std::vector<double> env_ratios;  // empty: by size
  std::optional<double> easy_threshold, hard_threshold;
  double easy_fraction = 0, hard_fraction = 0;
  bool online_difficulty_filtering = false, skip_verification = false;
  void describe(config::Schema& s);
};

// How much of what environments say is trained as text, by the role they say it in (algo/echo.h).
struct EchoRoleSection {
  double alpha = 0.1;
  void describe(config::Schema& s);
};

struct EchoRolesSection {
  std::optional<EchoRoleSection> user, tool = EchoRoleSection{};
  void describe(config::Schema& s);
  RoleWeights weights() const;
};

// Parts of it that are not trained (algo/reply_filter.h).
struct EchoFilterSection {
  std::vector<std::string> drop;
  void describe(config::Schema& s);
};

struct AdvantageSection {
  std::string type = "grpo";
  bool length_weighted_mean = false;
  EchoRolesSection roles;
  std::optional<EchoFilterSection> filter;
  void describe(config::Schema& s);
  std::string algorithm() const { return length_weighted_mean ? "length_weighted_mean" : type; }
};

// A frozen model whose log-probabilities of the sampled tokens go with the rollouts.
struct TeacherModelSection {
  std::string name = "Qwen/Qwen3-0.6B";
  void describe(config::Schema& s);
};

struct TeacherSection {
  TeacherModelSection model;
  void describe(config::Schema& s);
};

// Which rollouts are kept as text.
struct SaveRolloutsSection {
  std::int64_t interval = 1;
  std::optional<std::int64_t> groups;  // of a step; None: all
  bool tokens = true;
  void describe(config::Schema& s);
};

struct OrchestratorSection {
  std::int64_t batch_size = 128, rollouts_per_example = 1, seq_len = 2048;
  double oversampling_factor = 1.0;
  std::int64_t max_async_level = 1, max_off_policy_steps = 8;
  bool strict_async_level = false, mask_env_responses = true;
  std::string trajectory_strategy = "interleaved";
  std::int64_t seed = 42;
  SamplingSection sampling;
  std::vector<EnvSection> env = {EnvSection{}};
  std::optional<EvalSection> eval;
  std::optional<ValSection> val;
  BufferSection buffer;
  std::optional<AdvantageSection> advantage = AdvantageSection{};
  std::optional<SaveRolloutsSection> save_rollouts = SaveRolloutsSection{};
  std::optional<TeacherSection> teacher_model;

  void describe(config::Schema& s);          // in the process of the trainer
  void describe_process(config::Schema& s);  // in one of its own: the policy may lag
  // Tells the environments where they are configured; `prefix`: of this section's keys, "orchestrator.".
  void place_environments(const config::Origins& origins, const std::string& prefix);
  // Throws bad_input naming the keys and their values for what cannot work together.
  void validate() const;
  std::int64_t groups() const { return batch_size / rollouts_per_example; }

 private:
  void describe_keys(config::Schema& s);  // those that mean the same in both
};

}  // namespace rlcpp::orchestrator
