// T1: the wall clock jumps, forwards and back, while runs train, save, wait for each other and are resumed.
#include <random>

#include "app/rl_pair.h"
#include "app/sft_run.h"
#include "faults.h"
#include "tally.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

constexpr long kJumps[] = {3600, -3600, 86400, -86400};

void expect_no_negative_time(const World& world, const std::string& out) {
  for (const nlohmann::json& line : world.metrics(out)) {
    for (const auto& [key, value] : line.items()) {
      if (key.starts_with("time/") && value.is_number()) {
        EXPECT_GE(value.get<double>(), 0) << key;
        EXPECT_LT(value.get<double>(), 600) << key;
      }
    }
  }
}

class DurabilityClock : public Pair {
 protected:
  static std::string jump(int i, std::uint64_t within_ms, std::mt19937_64& rng) {
    return fmt::format("{}:{}", kJumps[i % 4], rng() % within_ms);
  }
};

TEST_F(DurabilityClock, JumpsMoveNoDeadlineAndNoOrder) {
  if (const std::string why = no_shim(); !why.empty()) GTEST_SKIP() << why;
  Tally tally(
      "T1",
      "the wall clock jumps by an hour or a day, both ways, in `rlcpp sft` and in trainer and orchestrator",
      40);
  const std::uint64_t seed = fresh_seed();
  std::mt19937_64 rng(seed);
  const SftWorld sft;
  const auto words = [&](const std::string& out, int steps) {
    return sft.sft(out,
                   {"--ckpt.interval", "1", "--ckpt.keep-last", "2", "--max-steps", std::to_string(steps)});
  };
  ASSERT_EQ(sft.run(words("whole", 6)).code, 0);
  for (int i = 0; i < (long_tier() ? 20 : 2); ++i) {
    const std::string out = fmt::format("clock{}", i);
    tally.run(fmt::format("sft {} of seed {}", i, seed), [&] {
      // To step 3 under one jump, on under another: the newest is found by its number.
      ProcessOutcome o = run_with(sft, {sft / out, "", "", jump(i, 150, rng)}, words(out, 3));
      EXPECT_EQ(o.code, 0) << o.err;
      o = run_with(sft, {sft / out, "", "", jump(i + 1, 150, rng)},
                   with_more(words(out, 6), {"--ckpt.resume-step", "-1"}));
      EXPECT_EQ(o.code, 0) << o.err;
      expect_has(o.err, {"resumed from " + sft / (out + "/checkpoints/step_3")});
      expect_same_end(sft, out, "whole", 6);
      expect_no_negative_time(sft, out);
      for (const char* never : {"gave up", "waiting"})
        EXPECT_EQ(o.err.find(never), std::string::npos) << o.err;
    });
  }
  for (int i = 0; i < (long_tier() ? 20 : 1); ++i) {
    const std::string out = fmt::format("pair{}", i);
    tally.run(fmt::format("pair {} of seed {}", i, seed), [&] {
      const auto begin = std::chrono::steady_clock::now();
      const auto with = [&](int which, const Words& command) {
        const WithFaults faults({*world_ / out, "", "", jump(which, 800, rng)});
        return start(command);
      };
      // Two machines, whose clocks jump apart.
      const Running t = with(i, trainer(out)), o = with(i + 1, orchestrator(out));
      EXPECT_EQ(wait_for(o.pid), 0) << o.errors();
      EXPECT_EQ(wait_for(t.pid), 0) << t.errors();
      expect_is(out, "one", 5);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(50));
      for (const Running* r : {&t, &o})
        EXPECT_EQ(r->errors().find("gave up"), std::string::npos) << r->errors();
      expect_no_negative_time(*world_, out);
      expect_no_negative_time(*world_, out + "/run_default");
      fs::remove_all(*world_ / out);
    });
  }
}

}  // namespace
}  // namespace rlcpp::test
