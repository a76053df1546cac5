#include "app/orchestrator_config.h"

#include <string_view>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::app {

void OrchestratorModelSection::describe(config::Schema& s) {
  s.field("name", name,
          "Directory of the model: its shapes and its tokenizer. The weights come from the trainer.")
      .alias("model_name_or_path");
  s.refused("lora", "the trainer publishes its weights with the adapters merged: remove model.lora here")
      .unless({"null"});
  s.refused("trust_remote_code",
            "rlcpp never runs code of a model repository: remove model.trust_remote_code")
      .unless({"false"});
}

void OrchestratorCkptSection::describe(config::Schema& s) {
  s.field("interval", interval,
          "Keep the rollouts of every step that this divides, to resume from; None: only those that the "
          "trainer may still need. Best the trainer's.")
      .at_least(1)
      .in("steps")
      .alias("save_steps");
  s.field("resume_step", resume_step, "Go on behind rollouts/step_N of output_dir; -1: behind the newest.")
      .at_least(-1);
  s.field("keep_last", keep_last, "Of the steps kept for interval the newest; None: all.")
      .at_least(1)
      .alias("save_total_limit");
  s.field("keep_interval", keep_interval, "Also keep those whose step is a multiple of this.")
      .at_least(1)
      .in("steps");
  for (const char* key : {"skip_progress", "skip_buffer"}) {
    s.refused(key, fmt::format("ckpt.{} is not supported: a resumed run continues everything", key))
        .unless({"false"});
  }
}

void OrchestratorConfig::describe(config::Schema& s) {
  s.section("model", model, "The model that is sampled from.");
  s.field("max_steps", max_steps, "Batches of the run; None: until stopped by a signal.")
      .at_least(1)
      .in("steps");
  orchestrator.describe_process(s);
  s.field("row_tokens", row_tokens, "Tokens of a packed row: the trainer's model.seq_len; None: seq_len.")
      .at_least(2)
      .in("tokens");
  s.section("tokenizer", tokenizer, "The tokenizer and its chat template.");
  s.section("inference", inference, "The rollout engine.");
  s.section("ckpt", ckpt, "How a run goes on; its state is stored with every step's rollouts.");
  s.section("rollout_transport", rollout_transport, "Rollouts, to the trainer.");
  s.section("weight_broadcast", weight_broadcast, "Weights, from the trainer.");
  s.section("log", log, "The log.");
  s.refused(
      "dist",
      "the orchestrator is one process: remove dist; ranks are the trainer's (rlcpp trainer --dist.ranks)");
  run.describe(s, "run_seed");
  watch.describe_orchestrator(s);
  refuse_reference_keys(s);
  s.refused("optim", "the optimizer is the trainer's: set optim there");
  s.refused("bench", "an orchestrator alone has no benchmark: use `rlcpp rl --bench` or `rlcpp trainer`")
      .unless({"false", "null"});
}

void OrchestratorConfig::place(const config::Origins& origins) {
  orchestrator.place_environments(origins, "");
}

RlConfig OrchestratorConfig::as_rl() const {
  RlConfig out;
  out.trainer.model.name = model.name;
  out.trainer.model.seq_len = row_tokens;
  out.max_steps = max_steps;
  out.orchestrator = orchestrator;
  out.tokenizer = tokenizer;
  out.inference = inference;
  out.ckpt.reset();
  out.log = log;
  out.run = run;
  return out;
}

void OrchestratorConfig::validate() const {
  watch.validate(max_steps);
  weight_broadcast.validate();
  try {
    as_rl().validate();
  } catch (const Error& e) {
    // The same checks as those of `rlcpp rl`, whose keys have a section before them.
    const auto own = [](std::string text) {
      for (const auto& [from, to] :
           {std::pair<std::string_view, std::string_view>{"trainer.model.seq_len", "row_tokens"},
            {"orchestrator.", ""}}) {
        for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
          text.replace(at, from.size(), to);
      }
      return text;
    };
    throw Error(e.code(), own(e.what()), own(e.because()), own(e.help()));
  }
  if (run.clean && ckpt.resume_step.has_value()) {
    throw bad_input("clean and ckpt.resume_step contradict each other",
                    "one removes what the other continues from", "remove one of them");
  }
}

std::string OrchestratorConfig::decisive_json() const {
  return as_rl().decisive_json();
}

bool OrchestratorConfig::keeps(std::int64_t step, std::int64_t newest) const {
  if (!ckpt.interval.has_value() || step % *ckpt.interval != 0) return false;
  if (ckpt.keep_interval.has_value() && step % *ckpt.keep_interval == 0) return true;
  if (!ckpt.keep_last.has_value()) return !ckpt.keep_interval.has_value();
  return step > newest / *ckpt.interval * *ckpt.interval - *ckpt.keep_last * *ckpt.interval;
}

}  // namespace rlcpp::app
