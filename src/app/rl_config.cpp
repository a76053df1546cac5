#include "app/rl_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/rng.h"
#include "train/schedule.h"

namespace rlcpp::app {

void ModelShortcut::describe(config::Schema& s) {
  s.field("name", name, "Directory of the model, for trainer and engine: trainer.model.name.")
      .alias("model_name_or_path");
}

void RlTrainerSection::describe(config::Schema& s) {
  s.section("model", model, "The model and how the trainer computes it.");
  s.section("optim", optim, "The optimizer.");
  s.section("scheduler", scheduler, "The learning-rate schedule.");
  s.section("loss", loss, "The loss of the policy.");
  s.section(
      "audit", audit,
      "Mode exact: now and then rollouts of a step are computed again in other rows, and their "
      "log-probabilities compared bit for bit with the engine's and the trainer's own; one that differs "
      "ends the run with exit code 4. None: none are.");
  for (const char* key : {"ckpt", "log", "output_dir", "max_steps", "bench", "max_async_level", "tokenizer",
                          "wandb", "heartbeat", "metrics_server", "trace_path", "memory_profiler_path"}) {
    s.refused(key, fmt::format("there is one process: set {} at the top instead of trainer.{}", key, key));
  }
  s.refused("weight_broadcast",
            "trainer and engine share their weights, nothing is broadcast: remove trainer.weight_broadcast")
      .unless({"null", R"({"type":"filesystem"})"});
  s.refused("rollout_transport", "rollouts stay in the process: remove trainer.rollout_transport")
      .unless({"null", R"({"type":"filesystem"})"});
  s.refused("max_concurrent_runs",
            "several LoRA runs in one trainer are not supported: remove trainer.max_concurrent_runs")
      .unless({"1"});
  s.refused("dist", "trainer and engine have the same ranks: set dist at the top instead of trainer.dist");
  s.refused("data", "fake rollouts are for `rlcpp trainer` and --bench: remove trainer.data");
  refuse_reference_keys(s);
}

void RlDistSection::describe(config::Schema& s) {
  s.field("ranks", ranks,
          "Ranks, each with a part of every batch and an engine for its share of the groups: on a GPU "
          "machine the "
          "GPUs 0 to N - 1, on a CPU groups of threads.")
      .at_least(1)
      .at_most(256);
  s.field("devices", devices, "The GPUs by their numbers, in place of dist.ranks.");
  s.field(
       "zero", zero,
       "What ranks do not hold whole: 1 optimizer state, 2 gradients too. Weights are whole on every rank, "
       "whose engine reads them.")
      .at_least(1)
      .at_most(2);
  s.field("timeout", timeout,
          "A collective that makes no progress for so long ends the run, with the name of the rank that is "
          "awaited.")
      .at_least(1)
      .at_most(1e6)
      .in("seconds");
  s.field("idle_timeout", idle_timeout,
          "No rank does anything for so long, in no collective: ends the run, with what each last did.")
      .at_least(1)
      .at_most(1e6)
      .in("seconds");
  for (const char* key : {"processes", "process", "address", "run_id", "start_timeout"}) {
    s.refused(key,
              fmt::format("rl is one process; several train with rlcpp trainer beside rlcpp orchestrator: "
                          "remove dist.{}, or start those two",
                          key));
  }
}

DistSection RlDistSection::dist() const {
  DistSection out;
  out.ranks = ranks;
  out.devices = devices;
  if (ranks > 1 || devices.size() > 1) out.zero = zero;
  out.timeout = timeout;
  out.idle_timeout = idle_timeout;
  return out;
}

void InferenceModelSection::describe(config::Schema& s) {
  s.field("max_model_len", max_model_len,
          "Longest prompt and completion together; None: orchestrator.seq_len.")
      .at_least(2)
      .in("tokens");
  s.refused("name", "trainer and engine share their weights: set model.name at the top");
  for (const char* key : {"dtype", "enforce_eager", "trust_remote_code", "tool_call_parser",
                          "reasoning_parser", "chat_template", "rope_scaling", "enable_auto_tool_choice"}) {
    s.refused(key, fmt::format("inference.model.{} belongs to vLLM: remove it", key))
        .unless({"null", "false", "\"auto\"", "\"hermes\""});
  }
}

void InferenceSection::describe(config::Schema& s) {
  s.section("model", model, "Limits of the engine's model.");
  s.field("max_sequences", max_sequences, "Completions computed at once.").at_least(1).alias("max_num_seqs");
  s.field("max_batch_tokens", max_batch_tokens, "Tokens of one forward, prompts and completions together.")
      .at_least(1)
      .in("tokens")
      .alias("max_num_batched_tokens");
  s.field("page_size", page_size, "Tokens of a page of the cache.")
      .at_least(1)
      .in("tokens")
      .alias("block_size");
  s.field("num_pages", num_pages,
          "Pages of the cache; None: enough for max_sequences of full length, or as many as the memory has "
          "room for.")
      .at_least(1);
  s.field(
       "on_new_weights", on_new_weights,
       "What becomes of completions that are under way when the weights change: keep (they go on from their "
       "cache), recompute (they go on, and their cache is computed again), drain (they are finished first), "
       "abort. A batch is sampled by one policy and what is left over is cancelled, so that today none is "
       "under way between steps; prompts of old weights are never reused.")
      .one_of({"keep", "recompute", "drain", "abort"});
  s.refused("server", "the engine is in this process and serves nobody else: remove inference.server");
  s.refused("parallel", "every rank has an engine of its own (dist.ranks): remove inference.parallel");
  s.refused("gpu_memory_utilization", "memory is planned exactly: set memory_limit, or inference.num_pages");
  s.refused("enable_lora",
            "the engine reads the trainer's adapters (trainer.model.lora): remove inference.enable_lora")
      .unless({"false", "true"});
  for (const char* key : {"max_loras", "max_cpu_loras", "max_lora_rank"}) {
    s.refused(key,
              fmt::format("the engine reads the trainer's adapters (trainer.model.lora): remove inference.{}",
                          key));
  }
  s.refused("weight_broadcast", "trainer and engine share their weights: remove inference.weight_broadcast");
  s.refused(
       "seed",
       "each completion has a seed of its own, made from seed and orchestrator.seed: remove inference.seed")
      .unless({"0"});
  s.refused("api_server_count", "the engine serves nobody else: remove inference.api_server_count")
      .unless({"1"});
  s.refused("vllm", "the engine is not vLLM: remove inference.vllm");
}

void RlConfig::describe(config::Schema& s) {
  s.section("model", model, "Shortcut: the model of trainer and engine.");
  s.field("max_steps", max_steps, "Steps of the run; None: until stopped by a signal.")
      .at_least(1)
      .in("steps");
  s.field("seq_len", seq_len, "Shortcut: orchestrator.seq_len and trainer.model.seq_len.")
      .at_least(2)
      .in("tokens");
  s.field("max_model_len", max_model_len, "Shortcut: inference.model.max_model_len.")
      .at_least(2)
      .in("tokens");
  s.field("max_async_level", max_async_level,
          "Shortcut: orchestrator.max_async_level; training and sampling take turns.")
      .at_least(0)
      .at_most(1);
  s.section("tokenizer", tokenizer, "The tokenizer and its chat template.");
  s.section("trainer", trainer, "What turns rollouts into updates.");
  s.section("orchestrator", orchestrator, "What is sampled, scored and batched.");
  s.section("inference", inference, "The rollout engine.");
  s.section("ckpt", ckpt, "Checkpoints and exported weights; None: nothing is saved.");
  s.section("log", log, "The log.");
  s.section("bench", bench, "Benchmark: the trainer alone on fake rollouts, no files, a table at the end.");
  run.describe(s);
  s.section("dist", dist, "Several GPUs: each has a rank of the trainer and an engine.");
  watch.describe_rl(s);
  refuse_reference_keys(s);
  for (const char* key : {"inference_gpu_ids", "trainer_gpu_ids", "teacher_gpu_ids"}) {
    s.refused(key, fmt::format("trainer and engine share one device: use --device instead of {}", key))
        .unless({"null"});
  }
  s.refused("teacher_inference", "a teacher is no server here: set orchestrator.teacher_model.model.name")
      .unless({"null", "false"});
  s.refused("weight_broadcast",
            "trainer and engine share their weights, nothing is broadcast (no nccl, no files): remove "
            "weight_broadcast")
      .unless({"null", R"({"type":"filesystem"})"});
  s.refused("deployment", "rl runs in one process: remove the section deployment");
  s.refused("slurm", "rl does not submit jobs: start it from your job script and remove the section slurm");
}

namespace {

// A shortcut and the key it is copied into must not both be given different values.
template <class T, class U>
void copy_shortcut(const std::optional<T>& shortcut, const char* name, U& target, const char* key,
                   const config::Origins& origins) {
  if (!shortcut.has_value()) return;
  const bool differs = !(target == U(*shortcut));
  if (differs && origins.contains(key) && origins.at(key) != "default") {
    throw bad_input(fmt::format("{} and {} say different things", name, key),
                    fmt::format("{} is set in {}", key, origins.at(key)), "remove one of them");
  }
  target = *shortcut;
}

}  // namespace

void RlConfig::apply_shortcuts(const config::Origins& origins) {
  copy_shortcut(model.name, "model.name", trainer.model.name, "trainer.model.name", origins);
  copy_shortcut(seq_len, "seq_len", orchestrator.seq_len, "orchestrator.seq_len", origins);
  copy_shortcut(seq_len, "seq_len", trainer.model.seq_len, "trainer.model.seq_len", origins);
  copy_shortcut(max_model_len, "max_model_len", inference.model.max_model_len,
                "inference.model.max_model_len", origins);
  copy_shortcut(max_async_level, "max_async_level", orchestrator.max_async_level,
                "orchestrator.max_async_level", origins);
  orchestrator.place_environments(origins, "orchestrator.");
}

config::Loaded RlConfig::shortcuts_as_origins(config::Loaded loaded) {
  config::Origins& origins = loaded.origins;
  for (const auto& [shortcut, key] : {std::pair<const char*, const char*>{"model.name", "trainer.model.name"},
                                      {"seq_len", "orchestrator.seq_len"},
                                      {"seq_len", "trainer.model.seq_len"},
                                      {"max_model_len", "inference.model.max_model_len"},
                                      {"max_async_level", "orchestrator.max_async_level"}}) {
    const auto given = origins.find(shortcut);
    if (given != origins.end() && given->second != "default")
      origins.try_emplace(key, fmt::format("{} ({})", given->second, shortcut));
  }
  return loaded;
}

std::int64_t RlConfig::row_tokens() const {
  return trainer.model.seq_len.value_or(orchestrator.seq_len);
}

std::int64_t RlConfig::max_model_len_of() const {
  return inference.model.max_model_len.value_or(orchestrator.seq_len);
}

void RlConfig::validate() const {
  orchestrator.validate();
  watch.validate(max_steps);
  trainer.optim.validate();
  trainer.loss.validate();
  train::validate_schedule(trainer.scheduler, trainer.optim.lr, max_steps.value_or(-1));
  if (row_tokens() < orchestrator.seq_len) {
    throw bad_input("trainer.model.seq_len is shorter than orchestrator.seq_len",
                    fmt::format("{} < {}: a rollout would not fit a row", row_tokens(), orchestrator.seq_len),
                    "raise trainer.model.seq_len, or lower orchestrator.seq_len");
  }
  if (max_model_len_of() < orchestrator.seq_len) {
    throw bad_input("inference.model.max_model_len is shorter than orchestrator.seq_len",
                    fmt::format("{} < {}", max_model_len_of(), orchestrator.seq_len),
                    "raise it, or leave it out");
  }
  if (trainer.loss.needs_teacher() && !orchestrator.teacher_model.has_value()) {
    throw bad_input(trainer.loss.type == "distill" ? "trainer.loss.type = \"distill\" needs a teacher"
                                                   : "trainer.loss.teacher_tau needs a teacher",
                    "orchestrator.teacher_model is not set",
                    "set orchestrator.teacher_model.model.name, or another loss");
  }
  require_clean_or_resume(run, ckpt);
}

orchestrator::OrchestratorSection RlConfig::seeded_orchestrator() const {
  orchestrator::OrchestratorSection out = orchestrator;
  const std::uint64_t mixed =
      mix64(static_cast<std::uint64_t>(run.seed), static_cast<std::uint64_t>(orchestrator.seed));
  out.seed = static_cast<std::int64_t>(mixed >> 1);  // not negative, as the section wants it
  return out;
}

std::string RlConfig::decisive_json() const {
  RlConfig same = *this;
  same.ckpt = CkptSection{};
  same.log = LogSection{};
  same.watch = {};
  same.bench.reset();
  same.trainer.audit.reset();
  same.orchestrator.val.reset();
  same.orchestrator.eval.reset();
  same.orchestrator.save_rollouts.reset();
  same.inference = InferenceSection{};
  same.run = decisive(run);
  same.dist = {};  // a checkpoint does not know ranks
  if (!depends_on_length(trainer.scheduler)) same.max_steps.reset();
  // The shortcuts repeat what the sections say.
  same.model = ModelShortcut{};
  same.seq_len = same.max_model_len = same.max_async_level = std::nullopt;
  return config::to_json(config::describer(same));
}

}  // namespace rlcpp::app
