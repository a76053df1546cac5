// A teacher beside the policy: log-probabilities of the sampled tokens, and on-policy distillation from them.
#include "rl_pair.h"

namespace rlcpp::test {
namespace {

std::string base(const RlWorld& world) {
  return world / "base/weights/step_60";
}

// The scorer's numbers are the trainer's, bit for bit, so a policy that is its own teacher has nothing to
// learn.
TEST_F(Pair, APolicyThatIsItsOwnTeacherHasNothingToLearn) {
  const auto o = world_->run(world_->rl("self", {"--orchestrator.teacher-model.model.name", base(*world_),
                                                 "--trainer.loss.type", "distill", "--max-steps", "1"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = world_->metrics("self");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["teacher_kl/mean"], 0.0);
  EXPECT_EQ(lines[0]["teacher_kl/max"], 0.0);
  EXPECT_EQ(lines[0]["optim/grad_norm"], 0.0);
  EXPECT_GT(lines[0]["time/teacher_logprobs"], 0.0);
}

TEST_F(Pair, DistillationBringsAPolicyNearItsTeacher) {
  const auto o = world_->run(world_->rl(
      "pupil", {"--model.name", *world_ / "model", "--tokenizer.name", *world_ / "tokenizer",
                "--orchestrator.teacher-model.model.name", base(*world_), "--trainer.loss.type", "distill",
                "--trainer.optim.lr", "5e-3", "--orchestrator.batch-size", "64", "--max-steps", "60"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = world_->metrics("pupil");
  ASSERT_EQ(lines.size(), 60U);
  // logp_teacher - logp_policy of what the policy samples: minus their divergence, in the mean.
  const auto gap = [&](std::size_t from) {
    double sum = 0;
    for (std::size_t i = from; i < from + 3; ++i) sum -= lines[i]["teacher_kl/mean"].get<double>();
    return sum / 3;
  };
  EXPECT_GT(gap(0), 1.0);
  EXPECT_LT(gap(57), 0.75 * gap(0));
}

TEST_F(Pair, TwoProcessesWithATeacherDoWhatOneDoes) {
  const Words teacher = {"--teacher-model.model.name", *world_ / "model"};
  ASSERT_EQ(world_
                ->run(world_->rl("taught", {"--orchestrator.teacher-model.model.name", *world_ / "model",
                                            "--trainer.loss.teacher-tau", "0.3", "--max-steps", "3"}))
                .code,
            0);
  const Running t = start(trainer("taught-pair", {"--loss.teacher-tau", "0.3", "--max-steps", "3"}));
  const Running o = start(orchestrator("taught-pair", plus(teacher, {"--max-steps", "3"})));
  expect_both(t, o);
  expect_is("taught-pair", "taught", 3);
}

TEST_F(Pair, ATrainerThatNeedsATeacherSaysWhoseItIs) {
  const Running t = start(trainer("untaught", {"--loss.type", "distill", "--max-steps", "1"}));
  const Running o = start(orchestrator("untaught", {"--max-steps", "1"}));
  EXPECT_EQ(t.wait(), 2);
  expect_has(t.errors(),
             {"the rollouts of step 1 have no teacher log-probabilities", "teacher_model.model.name"});
  o.wait();
}

TEST_F(Pair, TeachersThatCannotBeAreRefused) {
  world_->expect_refused(
      world_->rl("no", {"--trainer.loss.teacher-tau", "0.5"}), "no",
      {"trainer.loss.teacher_tau needs a teacher", "orchestrator.teacher_model.model.name"});
  world_->expect_refused(world_->rl("no", {"--orchestrator.teacher-model.model.name", *world_ / "nowhere"}),
                         "no", {"orchestrator.teacher_model.model.name = \"", "nowhere"});
  std::string config = slurp(*world_ / "model/config.json");
  const std::size_t at = config.find("\"vocab_size\"");
  ASSERT_NE(at, std::string::npos);
  const std::size_t digits = config.find_first_of("0123456789", at);
  config.replace(digits, config.find_first_not_of("0123456789", digits) - digits, "777");
  world_->file("other/config.json", config);
  world_->expect_refused(world_->rl("no", {"--orchestrator.teacher-model.model.name", *world_ / "other"}),
                         "no", {"has another vocabulary than the policy", "777 ids"});
  world_->expect_refused(trainer("no", {"--orchestrator.teacher-model.model.name", "x"}), "no",
                         {"orchestrator"});
}

}  // namespace
}  // namespace rlcpp::test
