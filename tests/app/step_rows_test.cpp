// The rows of a step lie outside the memory plan: they are counted, and gathering them can be interrupted.
#include "rl_run.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

TEST(StepRows, SftRefusesRowsThatTheMemoryCannotHold) {
  const SftWorld world;
  world.expect_refused(
      world.sft("refused", {"--data.batch-size", "2000000000000", "--dry-run"}), "refused",
      {"the rows of a step do not fit the memory", "data.batch_size is 2000000000000 rows of 64 tokens",
       "of host memory beside the", "are available", "lower data.batch_size or data.seq_len"});
  const auto o = world.run(world.sft("small", {"--dry-run"}));
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"of host memory for the rows of a step"});
}

TEST(StepRows, TheEpochCountsWhatWasTrained) {
  const SftWorld world;
  const auto o = world.run(world.sft("epochs", {"--max-steps", "4"}));
  ASSERT_EQ(o.code, 0) << o.err;
  for (const auto& line : world.metrics("epochs")) {
    const auto samples = line["progress/num_samples"].get<double>();
    EXPECT_DOUBLE_EQ(line["progress/epoch"].get<double>(), samples / 100);  // 100 rows, a sample each
    const auto free = line["system/ckpt_disk_free_gib"].get<double>();
    const auto total = line["system/ckpt_disk_total_gib"].get<double>();
    EXPECT_GT(free, 0);
    EXPECT_LE(free + line["system/ckpt_disk_used_gib"].get<double>(), total * (1 + 1e-9));
    EXPECT_DOUBLE_EQ(line["system/ckpt_disk_free_ratio"].get<double>(), free / total);
    EXPECT_EQ(line["perf/throughput_per_gpu"], line["perf/throughput"]);
  }
}

TEST(StepRows, ASignalEndsTheGatheringAtOnce) {
  const SftWorld world;
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const std::string out = "gather" + std::to_string(code);
    // A step of half an hour, were it not for the signal.
    const pid_t pid = world.start(
        world.sft(out, {"--data.batch-size", "100000000", "--memory-limit", "100TiB", "--max-steps", "5"}),
        world / "o", world / "e");
    world.wait_for_content(out + "/configs/resolved.toml");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const auto asked = std::chrono::steady_clock::now();
    kill(pid, signal);
    EXPECT_EQ(World::wait_for(pid), code) << slurp(world / "e");
    EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds(5));
    expect_has(slurp(world / "o"), {"stopped by", "after step 0"});
    EXPECT_TRUE(world.metrics(out).empty());
    EXPECT_FALSE(std::filesystem::exists(world / (out + "/loss.svg"))) << "a plot of nothing";
    EXPECT_EQ(slurp(world / "o").find("loss.svg"), std::string::npos);
  }
}

TEST_F(Rl, RefusesRolloutsThatTheMemoryCannotHold) {
  world_->expect_refused(
      world_->rl("refused", {"--orchestrator.batch-size", "1600000000000", "--dry-run"}), "refused",
      {"the rollouts of a step do not fit the memory", "orchestrator.batch_size is 1600000000000",
       "lower orchestrator.batch_size, orchestrator.seq_len"});
}

}  // namespace
}  // namespace rlcpp::test
