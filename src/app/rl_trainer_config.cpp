// The keys of `rlcpp trainer`.
#include <fmt/format.h>

#include "app/rl_trainer.h"
#include "base/error.h"
#include "train/schedule.h"

namespace rlcpp::app {

void FakeRolloutsSection::describe(config::Schema& s) {
  s.field("batch_size", batch_size, "Rows of a step, a micro-batch each.").at_least(1).in("rows");
  s.field("generate_samples", generate_samples,
          "Several documents of at most seq_len / 8 tokens a row; otherwise one of seq_len.");
  s.field("logprob_noise", logprob_noise,
          "Deviation of the sampler's log-probabilities from the policy's own. The reference draws them from "
          "N(0, 1), which its masks reject whole.")
      .at_least(0)
      .at_most(0.5);
}

void TrainerDataSection::describe(config::Schema& s) {
  s.section("fake", fake, "Made-up rollouts; None: those of an `rlcpp orchestrator`.");
}

void TrainerConfig::describe(config::Schema& s) {
  describe_training(s, "Benchmark: fake rollouts of full length, no files, a table at the end.");
  s.section("data", data, "What is trained on.");
  s.section("loss", loss, "The loss of the policy.");
  s.section(
      "audit", audit,
      "Mode exact: now and then rollouts of a step are computed again in other rows, and their "
      "log-probabilities compared bit for bit with the engine's and the trainer's own; one that differs "
      "ends the run with exit code 4. None: none are.");
  s.field("max_async_level", max_async_level,
          "Steps that the policy of a step's rollouts may lag: older ones are refused, and the weights of as "
          "many steps stay published.")
      .at_least(0)
      .at_most(64)
      .in("steps");
  s.section("rollout_transport", rollout_transport, "Rollouts, from the orchestrator.");
  s.section("weight_broadcast", weight_broadcast, "Weights, to the orchestrator.");
  s.section("tokenizer", tokenizer, "The tokenizer that is exported with the weights.");
  s.section("ckpt", ckpt, "Checkpoints and exported weights; None: nothing is saved.");
  s.refused("max_concurrent_runs",
            "several LoRA runs in one trainer are not supported: remove max_concurrent_runs")
      .unless({"1"});
}

void TrainerConfig::apply_bench() {
  if (!bench.has_value()) return;
  if (!data.fake.has_value()) data.fake.emplace();
  if (!max_steps.has_value()) max_steps = kBenchSteps;
}

void TrainerConfig::refuse_idle(const config::Origins& origins) const {
  if (!data.fake.has_value() || bench.has_value()) return;
  for (const auto& [key, origin] : origins) {
    const std::string section = key.substr(0, key.find('.'));
    const bool idle = section == "ckpt" || section == "tokenizer" || section == "max_async_level" ||
                      section == "audit" || section == "rollout_transport" || section == "weight_broadcast";
    if (!idle || origin == "default") continue;
    throw bad_input(fmt::format("{} has no effect with data.fake", key),
                    "made-up rollouts leave nothing worth saving, sending or auditing",
                    fmt::format("remove {} ({})", key, origin));
  }
}

void TrainerConfig::validate() const {
  require_clean_or_resume(run, ckpt);
  watch.validate(max_steps);
  optim.validate();
  loss.validate();
  weight_broadcast.validate();
  if (weight_broadcast.linked() && model.lora.has_value()) {
    throw bad_input("adapters do not travel over NCCL", "they are merged into the files that are published",
                    "set weight_broadcast.type = \"filesystem\" for both processes");
  }
  if (loss.needs_teacher() && data.fake.has_value()) {
    throw bad_input(loss.type == "distill" ? "loss.type = \"distill\" needs a teacher"
                                           : "loss.teacher_tau needs a teacher",
                    "made-up rollouts have none", "remove data.fake, or set another loss");
  }
  train::validate_schedule(scheduler, optim.lr, max_steps.value_or(-1));
}

std::string TrainerConfig::decisive_json() const {
  TrainerConfig same = *this;
  same.ckpt = CkptSection{};
  same.log = LogSection{};
  same.watch = {};
  same.rollout_transport = {};
  same.weight_broadcast = {};
  same.dist = DistSection{};  // a checkpoint does not know ranks
  same.audit.reset();
  same.run = decisive(run);
  if (!depends_on_length(scheduler)) same.max_steps.reset();
  return config::to_json(config::describer(same));
}

TrainerConfig trainer_of(RlConfig config, const config::Origins& origins) {
  config.apply_shortcuts(origins);
  TrainerConfig out;
  out.model = config.trainer.model;
  out.optim = config.trainer.optim;
  out.scheduler = config.trainer.scheduler;
  out.loss = config.trainer.loss;
  out.log = config.log;
  out.bench = config.bench;
  out.max_steps = config.max_steps;
  out.run = config.run;
  out.dist = config.dist.dist();
  out.watch = config.watch;
  out.model.seq_len = config.row_tokens();
  out.data.fake.emplace();
  out.data.fake->batch_size = config.orchestrator.batch_size;
  return out;
}

}  // namespace rlcpp::app
