// `rlcpp trainer` and `rlcpp orchestrator` as two processes: together they are `rlcpp rl`, and either may be
// stopped, killed or lied to.
#include <thread>

#include "rl_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

Words plus(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

class Pair : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new RlWorld;
    // What rl.toml says, in the keys of the two commands.
    world_->file("orch.toml", fmt::format(R"(
max_steps = 5
threads = 1
model.name = "{0}/base/weights/step_60"
max_async_level = 0
batch_size = 16
rollouts_per_example = 4
seq_len = 40
row_tokens = 128
weight_broadcast.timeout = 60
[sampling]
max_tokens = 10
stop = ["</reversed_text>"]
[save_rollouts]
tokens = true
[[env]]
id = "reverse-text"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[inference]
max_sequences = 8
max_batch_tokens = 64
page_size = 4
)",
                                          world_->dir().path()));
    world_->file("trainer.toml", fmt::format(R"(
max_steps = 5
threads = 1
max_async_level = 0
rollout_transport.timeout = 60
[model]
name = "{0}/base/weights/step_60"
seq_len = 128
[optim]
lr = 2e-3
[scheduler]
warmup_steps = 0
)",
                                             world_->dir().path()));
    // Everything whose state a resumed run must find again, as in all.toml.
    world_->file("orch-all.toml", fmt::format(R"(
oversampling_factor = 2.0
rollouts_per_example = 2
[buffer]
online_difficulty_filtering = true
hard_threshold = 0.15
easy_threshold = 0.5
[[env]]
id = "reverse-text"
name = "first"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[[env]]
id = "reverse-text"
name = "second"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[val]
num_examples = 6
interval = 2
[[val.env]]
id = "reverse-text"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[inference]
max_sequences = 64
max_batch_tokens = 24
)",
                                              world_->dir().path()));
    world_->file("trainer-all.toml", "[scheduler]\ntype = \"cosine\"\nwarmup_steps = 2\n");
    EXPECT_EQ(world_->run(world_->rl("one")).code, 0);
    EXPECT_EQ(world_->run(world_->rl("one-all", {"@", *world_ / "all.toml", "--max-steps", "6"})).code, 0);
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }

  static Words trainer(const std::string& out, const Words& more = {}) {
    return plus({"trainer", "@", *world_ / "trainer.toml", "--output-dir", *world_ / out}, more);
  }
  static Words orchestrator(const std::string& out, const Words& more = {}) {
    return plus(
        {"orchestrator", "@", *world_ / "orch.toml", "--output-dir", *world_ / (out + "/run_default")}, more);
  }
  struct Running {
    pid_t pid = 0;
    std::string out, err;
    int wait() const { return RlWorld::wait_for(pid); }
    std::string errors() const { return slurp(err); }
  };
  static Running start(const Words& words) {
    static int number = 0;
    const std::string name = *world_ / fmt::format("process{}", ++number);
    Running r{0, name + ".out", name + ".err"};
    r.pid = world_->start(words, r.out, r.err);
    return r;
  }
  static void expect_both(const Running& t, const Running& o) {
    EXPECT_EQ(o.wait(), 0) << o.errors();
    EXPECT_EQ(t.wait(), 0) << t.errors();
  }

  // The lines of the pair and of one process say the same, each in its part; so do state and weights.
  static void expect_is(const std::string& pair, const std::string& one, int steps) {
    SCOPED_TRACE(pair + " and " + one);
    EXPECT_EQ(world_->state(pair, steps), world_->state(one, steps));
    const std::string weights = fmt::format("/weights/step_{}/model.safetensors", steps);
    EXPECT_EQ(slurp(*world_ / (pair + weights)), slurp(*world_ / (one + weights)));
    std::map<int, Json> whole;
    for (const Json& line : world_->lasting_metrics(one)) whole[line["step"].get<int>()] = line;
    std::map<std::string, int> compared;
    for (const std::string& part : {pair, pair + "/run_default"}) {
      std::map<int, int> lines;
      for (const Json& line : world_->lasting_metrics(part)) {
        const int step = line["step"].get<int>();
        EXPECT_EQ(++lines[step], 1) << part << step;
        if (step > steps) continue;
        ASSERT_TRUE(whole.contains(step)) << part << step;
        for (const auto& [key, value] : line.items()) {
          if (key == "producer") continue;
          EXPECT_EQ(whole[step].value(key, Json()), value) << part << " step " << step << " " << key;
          ++compared[key.substr(0, key.find('/'))];
        }
      }
      for (int step = 1; step <= steps; ++step) EXPECT_EQ(lines[step], 1) << part << step;
    }
    for (const char* family : {"reward", "loss", "entropy", "mismatch_kl", "optim", "batch", "progress"})
      EXPECT_GE(compared[family], steps) << family;
    for (int step = 1; step <= steps; ++step) {
      const std::string name = fmt::format("/rollouts/step_{}.jsonl", step);
      EXPECT_EQ(slurp(*world_ / (pair + "/run_default" + name)), slurp(*world_ / (one + name))) << name;
    }
  }

  inline static RlWorld* world_ = nullptr;
};

TEST_F(Pair, TwoProcessesDoWhatOneDoesBitForBit) {
  const Running t = start(trainer("two"));
  const Running o = start(orchestrator("two"));
  expect_both(t, o);
  expect_is("two", "one", 5);
  expect_has(slurp(t.out), {"Trainer finished", "loss", "checkpoint", "--ckpt.resume-step -1"});
  expect_has(slurp(o.out), {"Orchestrator finished", "reward", "rollouts"});
  expect_has(t.errors(), {"step 5/5  loss "});
  expect_has(o.errors(), {"step 5/5  reward "});
  for (const char* name :
       {"broadcasts/step_5/STABLE", "broadcasts/step_5/model.safetensors", "logs/trainer.log",
        "run_default/logs/orchestrator.log", "run_default/rollouts/step_5/rank_0.bin",
        "run_default/rollouts/step_1/rank_0.bin", "weights/step_5/tokenizer.json"})
    EXPECT_TRUE(fs::exists(*world_ / (std::string("two/") + name))) << name;
  EXPECT_FALSE(fs::exists(*world_ / "two/broadcasts/step_4"));  // nobody may lag
  for (const Json& line : world_->metrics("two")) {
    EXPECT_EQ(line["producer"], "trainer");
    EXPECT_EQ(line["mismatch/max_abs_logprob"], 0.0);
    for (const char* name :
         {"loss", "entropy", "trainer_probs", "inference_probs", "mismatch_kl", "masked_mismatch_kl",
          "unmasked_mismatch_kl", "is_masked", "is_masked_low", "is_masked_high", "sequence_masked_low",
          "sequence_masked_high", "geo_masked_low", "geo_masked_high", "geo_seq_ratio"}) {
      for (const char* what : {"mean", "median", "std", "min", "max"})
        EXPECT_TRUE(line.contains(fmt::format("{}/{}", name, what))) << name << what;
    }
    for (const char* key :
         {"optim/lr", "optim/grad_norm", "perf/throughput", "perf/throughput_per_gpu", "perf/peak_memory",
          "time/step", "time/wait_for_batch", "time/load_data", "time/forward_backward",
          "time/broadcast_weights", "time/save_ckpt", "system/ckpt_disk_free_ratio"})
      EXPECT_TRUE(line.contains(key) && line[key].is_number()) << key;
    EXPECT_GT(line["optim/grad_norm"].get<double>(), 0);
  }
  for (const Json& line : world_->metrics("two/run_default")) {
    EXPECT_EQ(line["producer"], "orchestrator");
    for (const char* key : {"time/wait_for_ckpt", "time/update_weights", "time/generate_completions",
                            "batch/async_level", "perf/throughput"})
      EXPECT_TRUE(line.contains(key) && line[key].is_number()) << key;
  }
}

TEST_F(Pair, FiltersValidationAndSchedulesToo) {
  const Running t = start(trainer("pair-all", {"@", *world_ / "trainer-all.toml", "--max-steps", "6"}));
  const Running o = start(orchestrator("pair-all", {"@", *world_ / "orch-all.toml", "--max-steps", "6"}));
  expect_both(t, o);
  expect_is("pair-all", "one-all", 6);
}

// Weights that are not the trainer's own stand aside: bf16 is refused nowhere, but it is not the same run.
TEST_F(Pair, RoundedWeightsTrainToo) {
  const Running t = start(trainer("bf16", {"--weight-broadcast.dtype", "bfloat16"}));
  const Running o = start(orchestrator("bf16"));
  expect_both(t, o);
  EXPECT_GT(world_->metrics("bf16").back()["mismatch_kl/max"].get<double>(), 0);
  EXPECT_NE(world_->state("bf16", 5), world_->state("one", 5));
}

TEST_F(Pair, ALaggingPolicyIsSampledFromAndNoOlderOne) {
  const Running t = start(trainer("lag", {"--max-async-level", "2", "--max-steps", "8"}));
  const Running o =
      start(orchestrator("lag", {"--max-async-level", "2", "--strict-async-level", "--max-steps", "8"}));
  expect_both(t, o);
  const auto lines = world_->metrics("lag/run_default");
  ASSERT_EQ(lines.size(), 8U);
  for (int step = 1; step <= 8; ++step) {
    const Json& line = lines[static_cast<std::size_t>(step) - 1];
    EXPECT_EQ(line["batch/async_level"], std::min(step - 1, 2)) << step;
    EXPECT_EQ(line["progress/ckpt_step"], std::max(step - 3, 0)) << step;
  }
  // Off-policy, so the probabilities differ.
  EXPECT_GT(world_->metrics("lag").back()["mismatch_kl/max"].get<double>(), 0);
  for (int step : {6, 7, 8})
    EXPECT_TRUE(fs::exists(*world_ / fmt::format("lag/broadcasts/step_{}/STABLE", step))) << step;
  EXPECT_FALSE(fs::exists(*world_ / "lag/broadcasts/step_5"));
  // A trainer that allows less refuses them by name.
  const Running strict =
      start(trainer("lag", {"--max-async-level", "1", "--max-steps", "9", "--ckpt.resume-step", "-1"}));
  const Running more = start(orchestrator("lag", {"--max-async-level", "2", "--strict-async-level",
                                                  "--max-steps", "9", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(strict.wait(), 2);
  expect_has(strict.errors(), {"error: the rollouts of step 9", "steps 6 to 6", "allows 7 to 8"});
  kill(more.pid, SIGKILL);
  more.wait();
}

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

TEST_F(Pair, SignalsEndAWaitAndSaySo) {
  // Nobody answers either of them: they wait, and a signal ends the wait.
  const Running o = start(orchestrator("alone"));
  world_->wait_for_content("alone/run_default/logs/orchestrator.log");
  const Running t = start(trainer("alone-too"));
  world_->wait_for_content("alone-too/broadcasts/step_0/STABLE");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  kill(o.pid, SIGTERM);
  kill(t.pid, SIGINT);
  EXPECT_EQ(o.wait(), 143) << o.errors();
  EXPECT_EQ(t.wait(), 130) << t.errors();
  expect_has(slurp(o.out), {"stopped by SIGTERM", "--clean"});
  expect_has(slurp(t.out), {"stopped by SIGINT", "--clean"});
}

TEST_F(Pair, AStoppedPairGoesOn) {
  const Running t = start(trainer("stopped", {"--max-steps", "1000000"}));
  const Running o = start(orchestrator("stopped", {"--max-steps", "1000000"}));
  world_->wait_for_content("stopped/metrics.jsonl");
  kill(t.pid, SIGINT);
  EXPECT_EQ(t.wait(), 130) << t.errors();
  kill(o.pid, SIGINT);
  EXPECT_EQ(o.wait(), 130) << o.errors();
  const int last = world_->metrics("stopped").back()["step"].get<int>();
  EXPECT_TRUE(fs::exists(*world_ / fmt::format("stopped/checkpoints/step_{}/manifest.json", last)));
  expect_has(slurp(t.out), {"stopped by SIGINT", "--ckpt.resume-step -1"});
  const std::string steps = std::to_string(last + 3);
  const Words more = {"--max-steps", steps, "--ckpt.resume-step", "-1"};
  const Running t2 = start(trainer("stopped", more));
  const Running o2 = start(orchestrator("stopped", more));
  expect_both(t2, o2);
  ASSERT_EQ(world_->run(world_->rl("never-stopped", {"--max-steps", steps})).code, 0);
  expect_is("stopped", "never-stopped", last + 3);
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

TEST_F(Pair, InputIsCheckedBeforeAnythingStarts) {
  const auto refused = [&](const Words& words, const std::string& out, const Words& parts) {
    world_->expect_refused(words, out, parts);
  };
  refused(trainer("bad", {"--weight-broadcast.type", "nccl"}), "bad",
          {"weight_broadcast.type", "filesystem"});
  refused(trainer("bad", {"--rollout-transport.type", "zmq"}), "bad",
          {"rollout_transport.type", "filesystem"});
  refused(trainer("bad", {"--rollout-transport.port", "5555"}), "bad", {"travel through files"});
  refused(trainer("bad", {"--loss.teacher-tau", "1"}), "bad", {"loss.teacher_tau needs a teacher"});
  refused(trainer("bad", {"--clean", "--ckpt.resume-step", "-1"}), "bad", {"contradict"});
  refused(trainer("bad", {"--data.fake", "--ckpt.interval", "2"}), "bad",
          {"ckpt.interval has no effect with data.fake"});
  refused(orchestrator("bad", {"--batch-size", "15"}), "bad/run_default",
          {"batch_size is not a multiple of rollouts_per_example"});
  refused(orchestrator("bad", {"--row-tokens", "20"}), "bad/run_default",
          {"row_tokens is shorter than seq_len"});
  refused(orchestrator("bad", {"--clean", "--ckpt.resume-step", "3"}), "bad/run_default", {"contradict"});
  refused(orchestrator("bad", {"--ckpt.resume-step", "3"}), "bad/run_default", {"has no step_3"});
  refused(orchestrator("bad", {"--optim.lr", "1"}), "bad/run_default", {"the optimizer is the trainer's"});
  const auto dry = world_->run(orchestrator("dry", {"--dry-run"}));
  EXPECT_EQ(dry.code, 0) << dry.err;
  expect_has(dry.out, {"prompt 1", "1.000 for a perfect"});
  expect_has(dry.err, {"planned", "weights from " + *world_ / "dry/broadcasts"});
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
  const auto dry_trainer = world_->run(trainer("dry", {"--dry-run"}));
  EXPECT_EQ(dry_trainer.code, 0) << dry_trainer.err;
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
}

// What either leaves is known as a run's: refused without a word, removed with --clean.
TEST_F(Pair, ADirectoryIsUsedOnce) {
  const Running t = start(trainer("used", {"--max-steps", "2"}));
  const Running o = start(orchestrator("used", {"--max-steps", "2"}));
  expect_both(t, o);
  EXPECT_EQ(world_->run(trainer("used")).code, 2);
  EXPECT_EQ(world_->run(orchestrator("used")).code, 2);
  // An orchestrator that still samples for the run that is removed hears of it.
  const Running old = start(orchestrator("used", {"--max-steps", "9", "--ckpt.resume-step", "-1"}));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const Running t2 = start(trainer("used", {"--clean", "--max-steps", "1"}));
  EXPECT_EQ(old.wait(), 2);
  expect_has(old.errors(), {"the trainer has begun another run", "--clean"});
  // And the new trainer has taken nothing of what it found.
  EXPECT_TRUE(slurp(*world_ / "used/metrics.jsonl").empty());
  const Running o2 = start(orchestrator("used", {"--clean", "--max-steps", "1"}));
  expect_both(t2, o2);
  EXPECT_EQ(world_->metrics("used").size(), 1U);
  EXPECT_EQ(world_->metrics("used/run_default").size(), 1U);
  EXPECT_FALSE(fs::exists(*world_ / "used/run_default/rollouts/step_2"));
  EXPECT_FALSE(fs::exists(*world_ / "used/broadcasts/step_2"));
}

}  // namespace
}  // namespace rlcpp::test
