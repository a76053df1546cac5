// `rlcpp rl` on several ranks, each with a trainer and an engine.
#include "rl_pair.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

// The first policy is the same on any number of ranks, so are its rollouts, to the bit, and every later step
// has no difference of engine and trainer. What is trained differs by the rounding of sums alone.
TEST_F(Rl, RolloutsDoNotDependOnTheNumberOfRanks) {
  ASSERT_EQ(world_->run(world_->rl("ranks1")).code, 0);
  const auto expected = world_->rollouts("ranks1");
  const auto before = world_->metrics("ranks1");
  for (const char* ranks : {"2", "3"}) {
    const std::string out = std::string("ranks") + ranks;
    const auto o = world_->run(world_->rl(out, {"--dist.ranks", ranks, "--trainer.audit.interval", "2"}));
    ASSERT_EQ(o.code, 0) << o.err;
    expect_has(o.err, {std::string(ranks) + " ranks", "ZeRO 1", "optimizer state in shards"});
    EXPECT_EQ(world_->rollouts(out).at("step_1.jsonl"), expected.at("step_1.jsonl"));
    const auto lines = world_->metrics(out);
    ASSERT_EQ(lines.size(), 5U);
    for (const Json& line : lines) {
      EXPECT_EQ(line.at("mismatch_kl/max"), 0.0);
      EXPECT_EQ(line.at("mismatch/max_abs_logprob"), 0.0);
      EXPECT_GT(line.at("optim/grad_norm"), 0.0);
      if (line.contains("audit/differ")) {
        EXPECT_EQ(line.at("audit/differ"), 0);
      }
    }
    EXPECT_TRUE(lines[1].contains("audit/differ"));
    EXPECT_NEAR(lines[0].at("loss/mean").get<double>(), before[0].at("loss/mean").get<double>(), 1e-9);
    EXPECT_NEAR(lines[0].at("optim/grad_norm").get<double>(), before[0].at("optim/grad_norm").get<double>(),
                1e-4 * before[0].at("optim/grad_norm").get<double>());
  }
}

// The same ranks give the same bits, with groups that are filtered, cancelled and validated, and a checkpoint
// in between; another number of ranks continues it.
TEST_F(Rl, TheSameRanksGiveTheSameBits) {
  const std::vector<std::string> all = {"@", *world_ / "all.toml", "--max-steps", "6", "--dist.ranks", "2"};
  ASSERT_EQ(world_->run(world_->rl("ranks-bits", all)).code, 0);
  ASSERT_EQ(world_->run(world_->rl("ranks-again", plus(all, {"--max-steps", "3"}))).code, 0);
  const auto on = world_->run(world_->rl("ranks-again", plus(all, {"--ckpt.resume-step", "3"})));
  ASSERT_EQ(on.code, 0) << on.err;
  world_->expect_same_state("ranks-again", "ranks-bits", 6);
  const auto alone = world_->run(world_->rl(
      "ranks-again", plus(all, {"--dist.ranks", "1", "--max-steps", "7", "--ckpt.resume-step", "-1"})));
  EXPECT_EQ(alone.code, 0) << alone.err;
}

TEST_F(Rl, RanksWithZero2AndWithAdapters) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"--dist.zero", "2"},
        {"--trainer.model.lora.rank", "8", "--trainer.optim.lr", "1e-2"}}) {
    const std::string out = "ranks-" + more[0].substr(2, 4);
    const auto o = world_->run(world_->rl(out, plus({"--dist.ranks", "2", "--max-steps", "3"}, more)));
    ASSERT_EQ(o.code, 0) << o.err;
    for (const Json& line : world_->metrics(out)) EXPECT_EQ(line.at("mismatch_kl/max"), 0.0);
  }
}

TEST_F(Rl, RanksThatCannotBeAreRefused) {
  world_->expect_refused(world_->rl("no", {"--dist.ranks", "2", "--dist.zero", "3"}), "no", {"dist.zero"});
  world_->expect_refused(world_->rl("no", {"--dist.processes", "2"}), "no", {"rl is one process"});
  world_->expect_refused(world_->rl("no", {"--dist.ranks", "2", "--orchestrator.teacher-model.model.name",
                                           *world_ / "base/weights/step_60"}),
                         "no", {"dist.ranks = 2 beside orchestrator.teacher_model"});
}

}  // namespace
}  // namespace rlcpp::test
