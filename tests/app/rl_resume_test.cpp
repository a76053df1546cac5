// `rlcpp rl` stopped, signalled and killed: what goes on from a checkpoint ends with the bits of the run that
// nobody stopped.
#include <chrono>
#include <random>
#include <thread>

#include "rl_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Words plus(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// Goes on from the newest checkpoint, or starts over if nothing was saved.
Words again(const RlWorld& world, const std::string& out) {
  if (fs::exists(world / (out + "/checkpoints/latest"))) return {"--ckpt.resume-step", "-1"};
  return {"--clean"};
}

TEST_F(Rl, ResumedRunEqualsTheUnbrokenOneBitForBit) {
  const Words options = {
      "@", *world_ / "all.toml", "--ckpt.interval", "1", "--no-ckpt.weights", "--max-steps", "7"};
  ASSERT_EQ(world_->run(world_->rl("whole", options)).code, 0);
  ASSERT_EQ(world_->run(world_->rl("parts", options)).code, 0);
  world_->expect_same_run("parts", "whole", 7);
  // Stops at 7 too, but starts again from 2 and 6 (validated), and from 5; steps behind those are set aside.
  for (const char* step : {"2", "6", "5"}) {
    fs::remove_all(*world_ / "parts/rollouts");
    const auto o = world_->run(world_->rl("parts", plus(options, {"--ckpt.resume-step", step})));
    ASSERT_EQ(o.code, 0) << o.err;
    expect_has(o.err, {"resumed from ", std::string("step_") + step, " aside"});
    for (int s = std::stoi(step) + 1; s <= 7; ++s) world_->expect_same_state("parts", "whole", s);
    EXPECT_EQ(world_->lasting_metrics("parts"), world_->lasting_metrics("whole"));
    const auto whole = world_->rollouts("whole");
    const auto parts = world_->rollouts("parts");
    EXPECT_TRUE(parts.contains("step_7.jsonl"));
    EXPECT_FALSE(parts.contains(fmt::format("step_{}.jsonl", step)));
    for (const auto& [name, text] : parts) EXPECT_EQ(text, whole.at(name)) << name;
  }
  // Nothing left to do: says so by ending well.
  EXPECT_EQ(world_->run(world_->rl("parts", plus(options, {"--ckpt.resume-step", "-1"}))).code, 0);
  world_->expect_same_state("parts", "whole", 7);
}

// A run that ended in peace goes on like one that was meant to be longer, whatever the threads and the
// engine.
TEST_F(Rl, AFinishedRunGoesOn) {
  ASSERT_EQ(world_->run(world_->rl("long", {"--max-steps", "6"})).code, 0);
  ASSERT_EQ(world_->run(world_->rl("short", {"--max-steps", "3"})).code, 0);
  const auto o =
      world_->run(world_->rl("short", {"--max-steps", "6", "--ckpt.resume-step", "-1", "--threads", "2",
                                       "--inference.max-sequences", "5", "--inference.page-size", "8"}));
  ASSERT_EQ(o.code, 0) << o.err;
  world_->expect_same_run("short", "long", 6);
}

TEST_F(Rl, SkippedStepsAreRemembered) {
  const Words nan = {"--fail", "train.gradient=nan:2"};
  ASSERT_EQ(world_->run(world_->rl("skip", plus(nan, {"--max-steps", "5"}))).code, 0);
  ASSERT_EQ(world_->run(world_->rl("skips", plus(nan, {"--max-steps", "2"}))).code, 0);
  const auto o = world_->run(world_->rl("skips", {"--max-steps", "5", "--ckpt.resume-step", "-1"}));
  ASSERT_EQ(o.code, 0) << o.err;
  world_->expect_same_run("skips", "skip", 5);
}

TEST_F(Rl, SignalsFinishTheStepSaveAndSayHowToGoOn) {
  for (const auto& [signal, code, name] : {std::tuple{SIGTERM, 143, "SIGTERM"}, {SIGINT, 130, "SIGINT"}}) {
    const std::string out = std::string("signal") + name;
    const pid_t pid =
        world_->start(world_->rl(out, {"--max-steps", "1000000"}), *world_ / "o", *world_ / "e");
    world_->wait_for_content(out + "/metrics.jsonl");
    kill(pid, signal);
    EXPECT_EQ(RlWorld::wait_for(pid), code) << slurp(*world_ / "e");
    expect_has(slurp(*world_ / "o"),
               {std::string("stopped by ") + name, "checkpoint", "--ckpt.resume-step -1"});
    const int last = world_->metrics(out).back()["step"].get<int>();
    EXPECT_TRUE(fs::exists(*world_ / fmt::format("{}/checkpoints/step_{}/manifest.json", out, last)));
    const std::string steps = std::to_string(last + 2);
    const auto resumed = world_->run(world_->rl(out, {"--max-steps", steps, "--ckpt.resume-step", "-1"}));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    ASSERT_EQ(world_->run(world_->rl(out + "-never", {"--max-steps", steps})).code, 0);
    world_->expect_same_run(out, out + "-never", last + 2);
  }
}

// 50 kills in the long tier, each at a random moment of start, sampling, training, save or prune.
TEST_F(Rl, KillsAtRandomMomentsLoseNothing) {
  const int kills = long_tier() ? 50 : 2;
  const int steps = long_tier() ? 20 : 5;
  const Words options = {"@", *world_ / "all.toml", "--ckpt.interval",    "1", "--ckpt.keep-last",
                         "2", "--max-steps",        std::to_string(steps)};
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(world_->run(world_->rl("unbroken", options)).code, 0);
  const auto length =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  std::mt19937_64 rng(fresh_seed());
  int killed = 0, finished = 0;
  std::string out = "killed0";
  while (killed < kills) {
    const pid_t pid =
        world_->start(world_->rl(out, plus(options, again(*world_, out))), *world_ / "o", *world_ / "e");
    std::this_thread::sleep_for(
        std::chrono::microseconds(rng() % static_cast<std::uint64_t>(length.count())));
    kill(pid, SIGKILL);
    const int code = RlWorld::wait_for(pid);
    ASSERT_TRUE(code == 137 || code == 0) << slurp(*world_ / "e");
    if (code == 137) {
      ++killed;
      continue;
    }
    world_->expect_same_run(out, "unbroken", steps);
    out = "killed" + std::to_string(++finished);
  }
  const auto last = world_->run(world_->rl(out, plus(options, again(*world_, out))));
  ASSERT_EQ(last.code, 0) << last.err;
  world_->expect_same_run(out, "unbroken", steps);
}

// kill -9 at named points of the commit protocol, on their second and first hit.
TEST_F(Rl, KillsAtEachPointOfTheCommitLoseNothing) {
  const Words options = {
      "@", *world_ / "all.toml", "--ckpt.interval", "1", "--ckpt.keep-last", "1", "--max-steps", "3"};
  ASSERT_EQ(world_->run(world_->rl("commit", options)).code, 0);
  int number = 0;
  for (const char* point :
       {"checkpoint.before_commit", "checkpoint.after_commit", "durable.commit.before_rename",
        "durable.commit.before_manifest", "durable.commit.after_rename"}) {
    for (const char* when : {"2", "1"}) {
      // The protocol itself is tested with `rlcpp sft` and in base.
      if (!long_tier() && (*when == '1' || std::string(point).starts_with("durable"))) continue;
      const std::string out = "commit" + std::to_string(++number);
      const Words fail = {"--fail", std::string(point) + "=kill:" + when};
      EXPECT_EQ(world_->run(world_->rl(out, plus(options, fail))).code, 137) << point;
      const bool saved = fs::exists(*world_ / (out + "/checkpoints/step_1"));
      const Words how = saved ? Words{"--ckpt.resume-step", "-1"} : Words{"--clean"};
      const auto o = world_->run(world_->rl(out, plus(options, how)));
      ASSERT_EQ(o.code, 0) << point << when << "\n" << o.err;
      world_->expect_same_run(out, "commit", 3);
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
