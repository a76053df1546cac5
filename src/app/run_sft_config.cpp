// The keys of `rlcpp sft` (prime-rl trainer/sft/config.py, January 2026) and their cross-checks.
#include <fmt/format.h>

#include "app/run_sft.h"
#include "base/error.h"
#include "train/schedule.h"

namespace rlcpp::app {

void ValDataSection::describe(config::Schema& s) {
  s.field("name", name, "Data set, as data.name; None: data.name.");
  s.field("subsets", subsets, "As data.subsets.");
  s.field("splits", splits, "As data.splits.");
  s.field("max_examples", max_examples, "Use only the first rows; None: all.").at_least(1).in("rows");
}

void ValSection::describe(config::Schema& s) {
  s.field("interval", interval, "Steps between validations; the last step is always validated.")
      .at_least(1)
      .in("steps")
      .alias("eval_steps");
  s.field("eval_on_start", eval_on_start, "Also validate before the first step.");
  s.section("data", data, "The validation set. It is packed like the training rows, never shuffled.");
}

void SftConfig::describe(config::Schema& s) {
  describe_training(s, "Benchmark: fake data of full length, no files, a table at the end.");
  s.section("tokenizer", tokenizer, "The tokenizer and its chat template.");
  s.section("data", data, "What is trained on.");
  s.section("val", val, "Validation loss; None: no validation.");
  s.section("ckpt", ckpt, "Checkpoints and exported weights; None: nothing is saved.");
  s.refused("loss_impl", "there is one fused head for every loss: remove loss_impl")
      .unless({"\"torch\"", "\"liger\"", "\"auto\""});
  s.refused("deployment",
            "ranks are those of the section dist, or of srun, torchrun and mpirun: remove the section "
            "deployment");
  s.refused("slurm", "sft does not submit jobs: start it from your job script and remove the section slurm");
}

void SftConfig::apply_bench() {
  if (!bench.has_value()) return;
  data.type = "fake";
  val.reset();
  ckpt.reset();
  if (!max_steps.has_value()) max_steps = kBenchSteps;
}

void SftConfig::validate() const {
  data.validate();
  watch.validate(max_steps);
  optim.validate();
  train::validate_schedule(scheduler, optim.lr, max_steps.value_or(-1));
  if (model.seq_len.has_value() && *model.seq_len < data.seq_len) {
    throw bad_input("data.seq_len is longer than model.seq_len",
                    fmt::format("{} > {}", data.seq_len, *model.seq_len),
                    "raise model.seq_len, or leave it out");
  }
  if (val.has_value() && data.type == "fake" && !val->data.name.has_value()) {
    throw bad_input("val needs a data set", "data.type is fake, and val.data.name is not set",
                    "set val.data.name, or remove the section val");
  }
  if (bench.has_value() && bench->publish_dir.has_value()) {
    throw bad_input("bench.publish_dir is for the trainer of rollouts", "sft publishes to nobody",
                    "remove it, or run rlcpp trainer --bench");
  }
  require_clean_or_resume(run, ckpt);
}

std::string SftConfig::decisive_json() const {
  SftConfig same = *this;
  same.ckpt = CkptSection{};
  same.log = LogSection{};
  same.watch = {};
  same.bench.reset();
  same.dist = DistSection{};  // a checkpoint does not know ranks
  same.val.reset();
  same.data.dump.clear();
  same.run = decisive(run);
  if (!depends_on_length(scheduler)) same.max_steps.reset();
  return config::to_json(config::describer(same));
}

}  // namespace rlcpp::app
