// `rlcpp trainer` and `rlcpp orchestrator` as two processes: together they are `rlcpp rl`.
#include <thread>

#include "rl_pair.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

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
  // A trainer that allows less refuses them by name. It also removes older policies, so it comes second.
  const Running more = start(orchestrator("lag", {"--max-async-level", "2", "--strict-async-level",
                                                  "--max-steps", "9", "--ckpt.resume-step", "-1"}));
  world_->wait_for_content("lag/run_default/rollouts/step_9/rank_0.bin");
  const Running strict =
      start(trainer("lag", {"--max-async-level", "1", "--max-steps", "9", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(strict.wait(), 2);
  expect_has(strict.errors(), {"error: the rollouts of step 9", "steps 6 to 6", "allows 7 to 8"});
  kill(more.pid, SIGKILL);
  more.wait();
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

TEST_F(Pair, InputIsCheckedBeforeAnythingStarts) {
  const auto refused = [&](const Words& words, const std::string& out, const Words& parts) {
    world_->expect_refused(words, out, parts);
  };
  for (const auto& command : {trainer("bad", {"--weight-broadcast.type", "nccl"}),
                              orchestrator("bad", {"--weight-broadcast.type", "nccl"})}) {
    const std::string out = command.front() == "trainer" ? "bad" : "bad/run_default";
    refused(command, out, {"weight_broadcast.type = \"nccl\" is for GPUs", "filesystem"});
  }
  refused(trainer("bad", {"--weight-broadcast.type", "nccl", "--model.lora.rank", "4"}), "bad",
          {"adapters do not travel over NCCL", "filesystem"});
  refused(trainer("bad", {"--weight-broadcast.type", "nccl", "--weight-broadcast.dtype", "float32"}), "bad",
          {"weight_broadcast.dtype is of type = \"filesystem\""});
  refused(trainer("bad", {"--weight-broadcast.port", "5000"}), "bad",
          {"weight_broadcast.port is of type = \"nccl\""});
  refused(orchestrator("bad", {"--weight-broadcast.host", "node-a"}), "bad/run_default",
          {"weight_broadcast.host is of type = \"nccl\""});
  refused(trainer("bad", {"--weight-broadcast.inference-world-size", "2"}), "bad",
          {"one orchestrator takes the weights"});
  refused(trainer("bad", {"--rollout-transport.type", "zmq"}), "bad",
          {"rollout_transport.type", "filesystem"});
  refused(trainer("bad", {"--rollout-transport.port", "5555"}), "bad", {"travel through files"});
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
