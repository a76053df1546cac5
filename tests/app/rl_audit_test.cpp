// The audit in runs: what it logs, that it changes nothing, and how it ends a run.
#include "rl_pair.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

TEST_F(Pair, AnAuditComparesAndChangesNothing) {
  const auto o =
      world_->run(world_->rl("audited", {"--trainer.audit.interval", "2", "--trainer.audit.rollouts", "5"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = world_->metrics("audited");
  ASSERT_EQ(lines.size(), 5U);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool due = i % 2 == 1;
    EXPECT_EQ(lines[i].contains("audit/tokens"), due) << i;
    if (!due) continue;
    EXPECT_EQ(lines[i].at("audit/rollouts"), 5);
    EXPECT_GE(lines[i].at("audit/tokens"), 5 * 2);
    EXPECT_EQ(lines[i].at("audit/differ"), 0);
    EXPECT_GT(lines[i].at("time/audit"), 0);
  }
  world_->expect_same_state("audited", "one", 5);
  // Whoever goes on may audit otherwise.
  const auto on = world_->run(world_->rl("audited", {"--max-steps", "6", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(on.code, 0) << on.err;
}

TEST_F(Pair, AnAuditThatFailsNamesStepRolloutAndToken) {
  const auto o =
      world_->run(world_->rl("spoiled", {"--trainer.audit.interval", "3", "--fail", "train.audit=flip"}));
  EXPECT_EQ(o.code, 4);
  expect_has(o.err, {"error: the audit of step 3 found log-probabilities that differ", "step 3, rollout",
                     "(group ", "token", "in its own row", "in another", "1 of ", "help:"});
  EXPECT_EQ(world_->metrics("spoiled").size(), 2U);  // the step was not trained
}

// In two processes, with several ranks: the ranks share the rows.
TEST_F(Pair, TheTrainerAuditsWhatTheOrchestratorSends) {
  const Words every = {"--audit.interval", "1", "--audit.rollouts", "6"};
  const Running t = start(trainer("audits", plus(every, {"--dist.ranks", "2"})));
  const Running o = start(orchestrator("audits"));
  expect_both(t, o);
  const auto lines = world_->metrics("audits");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) {
    EXPECT_EQ(line.at("audit/rollouts"), 6);
    EXPECT_EQ(line.at("audit/differ"), 0);
  }
  const Running bad = start(trainer("audits-bad", plus(every, {"--fail", "train.audit=flip:2"})));
  const Running beside = start(orchestrator("audits-bad"));
  EXPECT_EQ(bad.wait(), 4);
  expect_has(bad.errors(), {"the audit of step 2 found", "rollout", "sampled with log-probability"});
  ::kill(beside.pid, SIGTERM);
  beside.wait();
}

}  // namespace
}  // namespace rlcpp::test
