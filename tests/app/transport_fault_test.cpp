// The pair of processes when one is killed, goes back, or finds what nobody sent.
#include <thread>

#include "rl_pair.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

// kill -9 of either process at named points, then once more from the newest state: the same bits.
TEST_F(Pair, KilledProcessesGoOnWithTheSameBits) {
  const Words t_all = {"@", *world_ / "trainer-all.toml", "--max-steps", "6", "--ckpt.interval", "2"};
  const Words o_all = {"@", *world_ / "orch-all.toml", "--max-steps", "6"};
  const Words again = {"--ckpt.resume-step", "-1"};
  int number = 0;
  const auto killed = [&](const std::string& who, const std::string& point) {
    SCOPED_TRACE(point);
    const std::string out = fmt::format("killed{}", ++number);
    const Words fail = {"--fail", point};
    const bool trains = who == "trainer";
    const Running t = start(trainer(out, plus(t_all, trains ? fail : Words{})));
    const Running o = start(orchestrator(out, plus(o_all, trains ? Words{} : fail)));
    const Running& dies = trains ? t : o;
    ASSERT_EQ(dies.wait(), 137) << dies.errors();
    const Running& other = trains ? o : t;
    if (trains && !fs::exists(*world_ / (out + "/checkpoints/latest"))) {
      // Nothing to go on from: both begin anew.
      kill(o.pid, SIGKILL);
      o.wait();
      const Running both[] = {start(trainer(out, plus(t_all, {"--clean"}))),
                              start(orchestrator(out, plus(o_all, {"--clean"})))};
      expect_both(both[0], both[1]);
    } else {
      const Running next =
          start(trains ? trainer(out, plus(t_all, again)) : orchestrator(out, plus(o_all, again)));
      EXPECT_EQ(next.wait(), 0) << next.errors();
      EXPECT_EQ(other.wait(), 0) << other.errors();
    }
    expect_is(out, "one-all", 6);
  };
  killed("trainer", "transport.publish.before_stable=kill:4");
  killed("orchestrator", "transport.send.before_commit=kill:3");
  killed("orchestrator", "transport.send.after_commit=kill:2");
  if (!long_tier()) return;
  for (const char* when : {"1", "2", "5"}) {
    for (const char* point : {"transport.publish.before_stable", "transport.publish.after_stable",
                              "durable.commit.before_rename", "durable.commit.after_rename"})
      killed("trainer", fmt::format("{}=kill:{}", point, when));
    for (const char* point : {"transport.send.before_commit", "transport.send.after_commit"})
      killed("orchestrator", fmt::format("{}=kill:{}", point, when));
  }
}

TEST_F(Pair, KillsAtRandomMomentsLoseNothing) {
  const int kills = long_tier() ? 40 : 4;
  const Words t_all = {"@", *world_ / "trainer-all.toml", "--max-steps", "6", "--ckpt.interval", "1"};
  const Words o_all = {"@", *world_ / "orch-all.toml", "--max-steps", "6"};
  Rng rng(fresh_seed());
  int done = 0, round = 0;
  while (done < kills) {
    const std::string out = fmt::format("random{}", ++round);
    const auto saved = [&] { return fs::exists(*world_ / (out + "/checkpoints/latest")); };
    const Words again = {"--ckpt.resume-step", "-1"};
    Running t = start(trainer(out, t_all)), o = start(orchestrator(out, o_all));
    bool trains = true, samples = true;
    for (int i = 0; i < 3 && trains && samples; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(rng.below(400)));
      const bool trainer_dies = rng.below(2) == 0;
      Running& dies = trainer_dies ? t : o;
      kill(dies.pid, SIGKILL);
      const int code = dies.wait();
      ASSERT_TRUE(code == 137 || code == 0) << dies.errors();
      if (code == 0) {
        (trainer_dies ? trains : samples) = false;
        break;
      }
      ++done;
      if (trainer_dies && !saved()) {
        // Nothing to go on from: both begin anew.
        kill(o.pid, SIGKILL);
        o.wait();
        t = start(trainer(out, plus(t_all, {"--clean"})));
        o = start(orchestrator(out, plus(o_all, {"--clean"})));
      } else {
        dies = start(trainer_dies ? trainer(out, plus(t_all, again)) : orchestrator(out, plus(o_all, again)));
      }
    }
    EXPECT_EQ(samples ? o.wait() : 0, 0) << o.errors();
    EXPECT_EQ(trains ? t.wait() : 0, 0) << t.errors();
    expect_is(out, "one-all", 6);
    if (HasFailure()) return;
  }
}

// Both from an earlier step: what came later is made anew.
TEST_F(Pair, BothGoBackToAnEarlierStep) {
  const Words every = {"--ckpt.interval", "2"};
  const Running t = start(trainer("back", plus(every, {"--ckpt.keep-interval", "2"})));
  const Running o = start(orchestrator("back", every));
  expect_both(t, o);
  const Words from = plus(every, {"--ckpt.resume-step", "2"});
  const Running t2 = start(trainer("back", from));
  const Running o2 = start(orchestrator("back", from));
  expect_both(t2, o2);
  expect_has(o2.errors(), {"resumed behind step 2", "set 3 later steps of rollouts aside"});
  expect_is("back", "one", 5);
}

TEST_F(Pair, TamperedWeightsAreRefusedAndTheOldOnesStay) {
  const Words lag = {"--max-async-level", "1", "--max-steps", "4"};
  const Running t = start(trainer("tampered", lag));
  const Running o = start(orchestrator("tampered", lag));
  expect_both(t, o);
  const std::string weights = *world_ / "tampered/broadcasts/step_4/model.safetensors";
  const std::string good = slurp(weights);
  const Words more = {"--max-steps", "5", "--ckpt.resume-step", "-1", "--weight-broadcast.timeout", "2"};
  // A flipped byte: step 3 is fresh enough, and its weights are taken.
  std::string bad = good;
  bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 4);
  world_->file("tampered/broadcasts/step_4/model.safetensors", bad);
  auto r = world_->run(orchestrator("tampered", plus(more, {"--max-async-level", "1"})));
  EXPECT_EQ(r.code, 0) << r.err;
  expect_has(r.err, {"refused: ", "step_4/model.safetensors", "checksum"});
  EXPECT_EQ(world_->metrics("tampered/run_default").back()["progress/ckpt_step"], 3);
  // Where nothing older will do, it waits, then says what it refused.
  r = world_->run(orchestrator(
      "tampered", plus(more, {"--max-async-level", "0", "--max-steps", "6", "--ckpt.resume-step", "4"})));
  EXPECT_EQ(r.code, 1) << r.err;
  expect_has(r.err, {"error: gave up waiting for the trainer", "weights of step 4", "refused was",
                     "step_4/model.safetensors"});
  fs::remove(weights);
  r = world_->run(
      orchestrator("tampered", plus(more, {"--max-async-level", "0", "--ckpt.resume-step", "4"})));
  EXPECT_EQ(r.code, 1) << r.err;
  expect_has(r.err, {"refused was", "step_4/model.safetensors"});
}

TEST_F(Pair, TornRolloutsAreRefusedByName) {
  const Running t = start(trainer("torn", {"--ckpt.interval", "1"}));
  const Running o = start(orchestrator("torn"));
  expect_both(t, o);
  const std::string file = *world_ / "torn/run_default/rollouts/step_5/rank_0.bin";
  const std::string good = slurp(file);
  const Words again = {"--ckpt.resume-step", "4"};
  world_->file("torn/run_default/rollouts/step_5/rank_0.bin", good.substr(0, good.size() - 9));
  auto r = world_->run(trainer("torn", again));
  EXPECT_EQ(r.code, 2);
  expect_has(r.err, {"error: ", "step_5/rank_0.bin", "is not a whole batch"});
  world_->file("torn/run_default/rollouts/step_5/rank_0.bin", good);
  r = world_->run(trainer("torn", again));
  EXPECT_EQ(r.code, 0) << r.err;
  expect_is("torn", "one", 5);
  // Nobody sends a sixth.
  r = world_->run(trainer(
      "torn", {"--ckpt.resume-step", "-1", "--max-steps", "6", "--rollout-transport.timeout", "0.5"}));
  EXPECT_EQ(r.code, 1);
  expect_has(r.err, {"gave up waiting for the orchestrator", "rollouts of step 6"});
}

TEST_F(Pair, OldRolloutsGoWhenTheTrainerNeedsThemNoMore) {
  const Words t_more = {"--ckpt.interval", "1", "--ckpt.keep-last", "1", "--max-steps", "8"};
  const Running t = start(trainer("pruned", t_more));
  const Running o = start(orchestrator("pruned", {"--ckpt.interval", "3", "--max-steps", "8"}));
  expect_both(t, o);
  for (const int step : {3, 6, 8}) {
    EXPECT_TRUE(fs::exists(*world_ / fmt::format("pruned/run_default/rollouts/step_{}/rank_0.bin", step)))
        << step;
  }
  for (const int step : {1, 2, 4, 5})
    EXPECT_FALSE(fs::exists(*world_ / fmt::format("pruned/run_default/rollouts/step_{}", step))) << step;
  // Back to a step behind which the rollouts are gone: said at once.
  const Running t2 = start(trainer("gone", {"--ckpt.interval", "2", "--max-steps", "8"}));
  const Running o2 = start(orchestrator("gone", {"--max-steps", "8"}));
  expect_both(t2, o2);
  const auto r = world_->run(trainer("gone", {"--ckpt.resume-step", "2", "--max-steps", "8"}));
  EXPECT_EQ(r.code, 2) << r.err;
  expect_has(r.err, {"the rollouts of step 3 are gone", "--ckpt.resume-step 2"});
}

}  // namespace
}  // namespace rlcpp::test
