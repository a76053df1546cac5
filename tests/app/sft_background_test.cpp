// Checkpoints of `rlcpp sft` written beside training: slow disks, failing disks, signals, damage.
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <thread>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

class SftBackground : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    ASSERT_EQ(world_->run(world_->sft("whole", {"--ckpt.interval", "1", "--no-ckpt.background"})).code, 0);
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static void expect_same_steps(const std::string& out, int first, int last) {
    for (int s = first; s <= last; ++s) {
      EXPECT_EQ(world_->state(out, s), world_->state("whole", s)) << out << " step " << s;
      const std::string weights = "/weights/step_" + std::to_string(s) + "/model.safetensors";
      EXPECT_TRUE(slurp(*world_ / (out + weights)) == slurp(*world_ / ("whole" + weights)))
          << out << " " << s;
    }
  }
  static SftWorld* world_;
};
SftWorld* SftBackground::world_ = nullptr;

TEST_F(SftBackground, TheSecondCheckpointWaitsForTheFirstAndBothAreTheirSteps) {
  const auto o = world_->run(
      world_->sft("slow", {"--ckpt.interval", "1", "--fail", "checkpoint.write_block=delay(120):*"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"step 2 is to be saved and waits for step 1, which is still being written",
                     "saved step 1 in", "saved step 6 in", "GB/s; training waited"});
  expect_same_steps("slow", 1, 6);
  double waited = 0, written = 0;
  for (const auto& line : world_->metrics("slow")) {
    waited += line["time/save_ckpt"].get<double>();
    written += line["time/ckpt_write"].get<double>();
  }
  EXPECT_GT(waited, 0.1);
  EXPECT_GT(written, 0.2);
}

TEST_F(SftBackground, ARingOfOneBlockHoldsTheUpdateAndChangesNothing) {
  const auto o = world_->run(world_->sft("ring", {"--ckpt.interval", "2", "--ckpt.staging", "1MiB", "--fail",
                                                  "checkpoint.write_block=delay(60):*"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"an update waits until the disk has taken the rest (ckpt.staging)"});
  for (const int s : {2, 4, 6}) expect_same_steps("ring", s, s);
}

TEST_F(SftBackground, AWriterThatFailsStopsTheRunAtTheNextStepAndLosesNothing) {
  // Step 1 has four blocks; the second checkpoint fails in its second.
  const auto o =
      world_->run(world_->sft("fails", {"--ckpt.interval", "1", "--fail", "checkpoint.write_block=error:6"}));
  EXPECT_EQ(o.code, 1);
  expect_has(o.err, {"error: fail point checkpoint.write_block acted", "saved step 1"});
  EXPECT_EQ(o.err.find("saved step 2"), std::string::npos);
  expect_same_steps("fails", 1, 1);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(*world_ / "fails/checkpoints"))
    left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"latest", "step_1"}));
  const auto on = world_->run(world_->sft("fails", {"--ckpt.interval", "1", "--ckpt.resume-step", "-1"}));
  ASSERT_EQ(on.code, 0) << on.err;
  expect_same_steps("fails", 1, 6);
}

TEST_F(SftBackground, ASignalWaitsForTheWriter) {
  const pid_t pid = world_->start(world_->sft("signal", {"--ckpt.interval", "1", "--max-steps", "1000000",
                                                         "--fail", "checkpoint.write_block=delay(40):*"}),
                                  *world_ / "o", *world_ / "e");
  for (int i = 0; i < 400 && slurp(*world_ / "signal/metrics.jsonl").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  kill(pid, SIGINT);
  EXPECT_EQ(SftWorld::wait_for(pid), 130);
  const auto last = world_->metrics("signal").back()["step"].get<int>();
  EXPECT_TRUE(fs::exists(*world_ / ("signal/checkpoints/step_" + std::to_string(last) + "/manifest.json")));
  expect_has(slurp(*world_ / "e"), {"saved step " + std::to_string(last) + " in"});
  if (last <= 6) expect_same_steps("signal", 1, last);
}

TEST_F(SftBackground, ADamagedNewestCheckpointIsPassedOverWhileLoading) {
  ASSERT_EQ(world_->run(world_->sft("damaged", {"--ckpt.interval", "1", "--max-steps", "5"})).code, 0);
  for (const int step : {4, 5}) {
    const std::string path =
        *world_ / ("damaged/checkpoints/step_" + std::to_string(step) + "/trainer/exp_avg_sq.safetensors");
    std::string text = slurp(path);
    text[text.size() - 3] ^= 1;
    std::ofstream(path, std::ios::binary) << text;
  }
  const auto named = world_->run(world_->sft("damaged", {"--ckpt.interval", "1", "--ckpt.resume-step", "5"}));
  EXPECT_EQ(named.code, 2);
  expect_has(named.err, {"exp_avg_sq.safetensors does not verify"});
  const auto o = world_->run(world_->sft("damaged", {"--ckpt.interval", "1", "--ckpt.resume-step", "-1"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"passed over", "step_5/trainer/exp_avg_sq.safetensors does not verify", "step_4/trainer",
                     "resumed from " + *world_ / "damaged/checkpoints/step_3"});
  expect_same_steps("damaged", 4, 6);
}

TEST_F(SftBackground, StagingMustBeAnAmount) {
  world_->expect_refused(world_->sft("odd", {"--ckpt.staging", "much"}), "odd",
                         {"ckpt.staging", "amount of memory"});
}

TEST_F(SftBackground, TheBenchmarkMeasuresAndLeavesNothing) {
  const auto o = world_->run({"bench-checkpoint", "--model.name", *world_ / "model", "--device", "cpu",
                              "--seq-len", "32", "--directory", *world_ / "bench", "--json"});
  ASSERT_EQ(o.code, 0) << o.err;
  const auto json = nlohmann::json::parse(o.out);
  EXPECT_EQ(json["rows"].size(), 11U);
  for (const auto& row : json["rows"]) EXPECT_GE(row["seconds"].get<double>(), 0) << row;
  EXPECT_GT(json["state_bytes"].get<double>(), 0);
  EXPECT_FALSE(fs::exists(*world_ / "bench"));
  const auto there = world_->run({"bench-checkpoint", "--model.name", *world_ / "model", "--device", "cpu",
                                  "--directory", *world_ / "whole"});
  EXPECT_EQ(there.code, 2);
  EXPECT_TRUE(fs::exists(*world_ / "whole/checkpoints/step_6"));
}

}  // namespace
}  // namespace rlcpp::test
