// `rlcpp trainer` and `rlcpp orchestrator` on a GPU each, with the weights over NCCL; run where there are two
// GPUs and RLCPP_TEST_GPU=1.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <thread>

#include "rl_pair.h"
#include "wide_model.h"

namespace rlcpp::test {
namespace {

class LinkedGpus : public Pair {
 protected:
  void SetUp() override {
    const char* value = std::getenv("RLCPP_TEST_GPU");
    if (value == nullptr || std::string_view(value) != "1" || !std::filesystem::exists("/dev/nvidia1"))
      GTEST_SKIP() << "needs two GPUs and RLCPP_TEST_GPU=1";
    make_wide_model(*world_);
    static int number = 0;
    port_ = fmt::format("{}", 29600 + ::getpid() % 1000 + ++number);
  }
  Running trains(const std::string& out, const Words& more = {}) const {
    return start(plus(trainer(out, linked("cuda:0")), more));
  }
  Running samples(const std::string& out, const Words& more = {}) const {
    return start(plus(orchestrator(out, plus(linked("cuda:1"), {"--inference.page-size", "16"})), more));
  }
  Words linked(const std::string& device) const {
    return {"--model.name",
            *world_ / "wide/weights/step_60",
            "--device",
            device,
            "--memory-limit",
            "4GiB",
            "--numeric-mode",
            "exact",
            "--weight-broadcast.type",
            "nccl",
            "--weight-broadcast.port",
            port_};
  }
  static void await_steps(const std::string& out, std::size_t steps) {
    for (int i = 0; i < 6000 && world_->metrics(out).size() < steps; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ASSERT_GE(world_->metrics(out).size(), steps);
  }
  std::string port_;
};

TEST_F(LinkedGpus, TheOrchestratorSamplesFromTheTrainersBits) {
  const Running o = samples("linked"), t = trains("linked");
  expect_both(t, o);
  const auto lines = world_->metrics("linked");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) {
    EXPECT_EQ(line.at("mismatch_kl/mean").get<double>(), 0) << line;
    EXPECT_EQ(line.at("mismatch/max_abs_logprob").get<double>(), 0) << line;
    EXPECT_LT(line.at("time/broadcast_weights").get<double>(), 5) << line;
  }
  // No weights went through files.
  EXPECT_FALSE(std::filesystem::exists(*world_ / "linked/broadcasts/step_0"));
  EXPECT_TRUE(std::filesystem::exists(*world_ / "linked/weights/step_5/model.safetensors"));
}

TEST_F(LinkedGpus, WhoLosesTheOtherSavesAndBothGoOn) {
  const Words for_long = {"--max-steps", "100000"};
  const Running o = samples("linked-lost", for_long), t = trains("linked-lost", for_long);
  await_steps("linked-lost", 2);
  ::kill(o.pid, SIGKILL);
  EXPECT_EQ(t.wait(), 1) << t.errors();
  expect_has(t.errors(), {"the orchestrator is lost", "--ckpt.resume-step -1"});
  o.wait();
  const int last = world_->metrics("linked-lost").back()["step"].get<int>();
  EXPECT_TRUE(
      std::filesystem::exists(*world_ / fmt::format("linked-lost/checkpoints/step_{}/manifest.json", last)));
  const std::string steps = std::to_string(last + 3);
  const Words further = {"--max-steps", steps, "--ckpt.resume-step", "-1"};
  const Running o2 = samples("linked-lost", further), t2 = trains("linked-lost", further);
  expect_both(t2, o2);
  const Running o3 = samples("linked-whole", {"--max-steps", steps});
  const Running t3 = trains("linked-whole", {"--max-steps", steps});
  expect_both(t3, o3);
  EXPECT_EQ(world_->state("linked-lost", last + 3), world_->state("linked-whole", last + 3));
}

TEST_F(LinkedGpus, ATrainerThatIsKilledIsNotWaitedFor) {
  const Running o = samples("linked-killed", {"--max-steps", "100000"});
  const Running t = trains("linked-killed", {"--max-steps", "100000"});
  await_steps("linked-killed", 2);
  ::kill(t.pid, SIGKILL);
  EXPECT_EQ(o.wait(), 1) << o.errors();
  expect_has(o.errors(), {"the trainer is lost"});
  t.wait();
}

TEST_F(LinkedGpus, OneGpuForBothIsRefused) {
  const Running o =
      start(orchestrator("linked-same", plus(linked("cuda:0"), {"--inference.page-size", "16"})));
  const Running t = trains("linked-same");
  EXPECT_NE(t.wait(), 0);
  EXPECT_NE(o.wait(), 0);
  expect_has(t.errors(), {"did not meet for the weights", "GPU of its own"});
}

}  // namespace
}  // namespace rlcpp::test
