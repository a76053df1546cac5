// `rlcpp trainer` on rollouts with several ranks, in one process and in two.
#include <fmt/format.h>

#include "mpi_run.h"
#include "rl_pair.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

TEST_F(Pair, ATrainerOfTwoProcessesIsOneOfTwoThreads) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  if (!long_tier()) GTEST_SKIP() << "long tier";
  const auto threads =
      start(trainer("threads", {"--dist.ranks", "2", "--dist.zero", "3", "--ckpt.interval", "2"}));
  expect_both(threads, start(orchestrator("threads")));
  const Words words = trainer("processes", {"--dist.zero", "3", "--ckpt.interval", "2"});
  Running processes{0, *world_ / "mpi.out", *world_ / "mpi.err"};
  processes.pid = start_mpi({words, words}, processes.out, processes.err);
  expect_both(processes, start(orchestrator("processes")));
  for (const int step : {2, 4, 5})
    EXPECT_TRUE(world_->state("threads", step) == world_->state("processes", step));
  EXPECT_TRUE(slurp(*world_ / "threads/weights/step_5/model.safetensors") ==
              slurp(*world_ / "processes/weights/step_5/model.safetensors"));
  EXPECT_EQ(world_->metrics("processes").size(), 5U);
  EXPECT_EQ(count_of(slurp(processes.out), "Trainer finished"), 1U);
}

// Who has forgotten to start the orchestrator is told within seconds; the wait is no standstill of the ranks.
TEST_F(Pair, ATrainerThatWaitsForItsFirstRolloutsSaysSo) {
  if (!long_tier()) GTEST_SKIP() << "long tier";  // it takes as long
  for (const char* ranks : {"1", "2"}) {
    const auto begin = std::chrono::steady_clock::now();
    const auto run =
        start(trainer(std::string("early") + ranks, {"--dist.ranks", ranks, "--dist.idle-timeout", "3"}));
    const std::string line = "waiting 10 s for the orchestrator: rollouts of step 1";
    while (run.errors().find(line) == std::string::npos &&
           std::chrono::steady_clock::now() - begin < std::chrono::seconds(40))
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    expect_has(run.errors(), {line, "hard limit in"});
    kill(run.pid, SIGTERM);
    EXPECT_EQ(run.wait(), 143) << run.errors();
  }
}

TEST_F(Pair, ASignalToOneProcessEndsTheWaitOfAll) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  if (!long_tier()) GTEST_SKIP() << "long tier";
  const Words words = trainer("lonely");
  const pid_t run = start_mpi({words, words}, *world_ / "mpi.out", *world_ / "mpi.err");
  for (int i = 0; i < 3000 && !fs::exists(*world_ / "lonely/broadcasts/step_0/STABLE"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  const auto processes = processes_in(*world_ / "lonely");
  ASSERT_EQ(processes.size(), 2U);
  kill(processes[1], SIGTERM);
  EXPECT_EQ(RlWorld::wait_for(run), 143) << slurp(*world_ / "mpi.err");
  EXPECT_EQ(count_of(slurp(*world_ / "mpi.out"), "Trainer stopped by SIGTERM after step 0"), 1U);
}

}  // namespace
}  // namespace rlcpp::test
