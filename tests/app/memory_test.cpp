// Memory as a user meets it: a plan that does not fit is refused with changes that do, plans for cards that
// are not here, and policies that change memory and no bit of the result.
#include <gtest/gtest.h>

#include "sft_run.h"
#include "ways_out.h"

namespace rlcpp::test {
namespace {

struct Memory : testing::Test {
  static void SetUpTestSuite() { world_ = new SftWorld(); }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static SftWorld* world_;

  static std::map<std::string, double> plan(const std::vector<std::string>& command) {
    return planned(*world_, command);
  }
  // `limit` in GiB.
  static std::size_t expect_ways_out(const std::vector<std::string>& command, double limit) {
    return test::expect_ways_out(*world_, command, limit);
  }

  static std::vector<std::string> qwen(const std::string& model, const std::vector<std::string>& more = {}) {
    return joined(
        {"sft", "--model.name", model, "--model.debug.random-init", "--data.type", "fake", "--data.seq-len",
         "8192", "--data.batch-size", "4", "--device", "cuda", "--output-dir", *world_ / "never"},
        more);
  }
};
SftWorld* Memory::world_ = nullptr;

TEST_F(Memory, ChangesThatARefusalListsFit) {
  // From one that a single mild change makes fit to one that needs several.
  for (const double limit : {20.0, 15.0, 11.0, 6.0, 4.0}) {
    EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-0.6B"), limit), 0U) << limit;
  }
  EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-0.6B", {"--data.micro-batch-size", "2"}), 30), 0U);
  EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-4B-Instruct-2507"), 44), 0U);
}

// What a GPU that is here plans for its libraries would move these limits.
TEST_F(Memory, TheMildestChangeIsListedFirst) {
  const ProcessOutcome fitting =
      world_->run(qwen("Qwen/Qwen3-0.6B", {"--memory-limit", "44GiB", "--dry-run"}));
  if (fitting.err.find("a GPU that is not here") == std::string::npos) GTEST_SKIP() << "there is a GPU";
  const auto first_of = [](double limit) {
    const ProcessOutcome o =
        world_->run(qwen("Qwen/Qwen3-0.6B", {"--memory-limit", std::to_string(limit) + "GiB", "--dry-run"}));
    const auto found = suggestions(o.err);
    return found.empty() ? std::string() : found.front().flags.at(0) + " " + found.front().flags.back();
  };
  EXPECT_EQ(first_of(19), "--model.ac.mode selective");
  EXPECT_EQ(first_of(14), "--model.ac.mode attention");
  EXPECT_EQ(first_of(12.5), "--model.ac.mode full");
  // Two changes that train the same before one that does not.
  EXPECT_EQ(first_of(10.5), "--model.ac.mode --model.optim-cpu-offload");
}

TEST_F(Memory, WhereNothingFitsTheSmallestPlanIsNamed) {
  const ProcessOutcome o =
      world_->run(qwen("Qwen/Qwen3-4B-Instruct-2507", {"--memory-limit", "2GiB", "--dry-run"}));
  EXPECT_EQ(o.code, 2);
  expect_has(o.err, {"no change makes it fit; the smallest plan is", "--model.optim-cpu-offload"});
}

TEST_F(Memory, TheTrainerAndRlListWaysOutToo) {
  EXPECT_GT(expect_ways_out(
                {"trainer", "--data.fake", "--model.name", "Qwen/Qwen3-0.6B", "--model.debug.random-init",
                 "--model.seq-len", "8192", "--device", "cuda", "--output-dir", *world_ / "never"},
                15),
            0U);
}

// With several ranks a change is planned at the level of ZeRO that a run with it takes.
TEST_F(Memory, ChangesForSeveralRanksAreWhatARunWithThemPlans) {
  for (const double limit : {12.0, 8.0, 5.0}) {
    EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-0.6B", {"--dist.ranks", "2"}), limit), 0U) << limit;
  }
  EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-4B-Instruct-2507", {"--dist.ranks", "4"}), 24), 0U);
  EXPECT_GT(expect_ways_out(qwen("Qwen/Qwen3-0.6B", {"--dist.ranks", "2", "--dist.zero", "1"}), 12), 0U);
  const ProcessOutcome o =
      world_->run(qwen("Qwen/Qwen3-0.6B", {"--dist.ranks", "2", "--memory-limit", "8GiB", "--dry-run"}));
  expect_has(o.err, {"are missing for each of 2 ranks, beside 0.86 GiB of NCCL"});
}

// More GPUs hold less each, and what is listed is what a run with them plans.
TEST_F(Memory, MoreRanksAreAWayOut) {
  const auto ranks_of = [](const std::vector<std::string>& command, double limit) {
    EXPECT_GT(expect_ways_out(command, limit), 0U) << limit;
    const ProcessOutcome o =
        world_->run(joined(command, {"--memory-limit", std::to_string(limit) + "GiB", "--dry-run"}));
    for (const Suggestion& s : suggestions(o.err)) {
      if (s.flags.front() == "--dist.ranks") return s.flags.at(1);
    }
    return std::string("none in ") + o.err;
  };
  const ProcessOutcome fitting =
      world_->run(qwen("Qwen/Qwen3-0.6B", {"--memory-limit", "44GiB", "--dry-run"}));
  if (fitting.err.find("a GPU that is not here") == std::string::npos) GTEST_SKIP() << "there is a GPU";
  const std::vector<std::string> full = {"--model.ac.mode", "full"};
  EXPECT_EQ(ranks_of(qwen("Qwen/Qwen3-4B-Instruct-2507", full), 44), "2");
  EXPECT_EQ(ranks_of(qwen("Qwen/Qwen3-4B-Instruct-2507", joined(full, {"--dist.ranks", "2"})), 30), "3");
  EXPECT_EQ(ranks_of({"trainer", "--data.fake", "--model.name", "Qwen/Qwen3-0.6B",
                      "--model.debug.random-init", "--model.seq-len", "8192", "--model.ac.mode", "full",
                      "--device", "cuda", "--output-dir", *world_ / "never"},
                     9),
            "2");
  // With adapters nothing is cut: no number of ranks helps, but one rank needs no NCCL.
  const auto lora = qwen("Qwen/Qwen3-0.6B", joined(full, {"--model.lora.rank", "16"}));
  const double planned_gib = plan(lora).at("planned") / kGiB;
  EXPECT_EQ(ranks_of(joined(lora, {"--dist.ranks", "2"}), planned_gib + 0.3), "1");
}

// On a CPU ranks share the machine, so that fewer have more of it each.
TEST_F(Memory, FewerRanksAreAWayOutOnACpu) {
  const auto command = [](int ranks) {
    return world_->sft("never",
                       {"--dist.ranks", std::to_string(ranks), "--device", "cpu", "--data.seq-len", "1024"});
  };
  const double one = plan(command(1)).at("planned"), four = plan(command(4)).at("planned");
  ASSERT_LT(1.2 * one, 4 * four);
  const double limit = (0.3 * one + 0.7 * 4 * four) / kGiB;
  EXPECT_GT(expect_ways_out(command(4), limit), 0U);
  const ProcessOutcome o =
      world_->run(joined(command(4), {"--memory-limit", std::to_string(limit) + "GiB", "--dry-run"}));
  expect_has(o.err, {"help: --dist.ranks ", "the same cores"});
}

TEST_F(Memory, ASmallerRankIsAWayOut) {
  const auto lora = [](const std::string& rank) {
    return qwen("Qwen/Qwen3-0.6B", {"--model.lora.rank", rank, "--model.ac.mode", "full"});
  };
  const auto large = plan(lora("1024")), small = plan(lora("16"));
  ASSERT_FALSE(large.empty() || small.empty());
  const double between = (large.at("planned") + small.at("planned")) / 2 / kGiB;
  EXPECT_GT(expect_ways_out(lora("1024"), between), 0U);
  const ProcessOutcome o =
      world_->run(joined(lora("1024"), {"--memory-limit", std::to_string(between) + "GiB", "--dry-run"}));
  expect_has(o.err, {"--model.lora.rank 512: "});
}

// The plan says whose it is; a part of it lies on the host.
TEST_F(Memory, PlansForAGpuThatNeedNotBeHere) {
  const ProcessOutcome o =
      world_->run(qwen("Qwen/Qwen3-0.6B", {"--memory-limit", "44GiB", "--dry-run", "--model.ac-offloading",
                                           "--model.optim-cpu-offload"}));
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"host optimizer", "host activations", "available             43.94 GiB"});
  // A run that is not dry needs the GPU: refused, or it would have been planned for the real one.
  if (o.err.find("a GPU that is not here") != std::string::npos) {
    EXPECT_EQ(world_->run(qwen("Qwen/Qwen3-0.6B")).code, 3);
  }
  const auto none = plan(qwen("Qwen/Qwen3-0.6B")),
             host = plan(qwen("Qwen/Qwen3-0.6B", {"--model.optim-cpu-offload"}));
  ASSERT_FALSE(none.empty());
  // Masters and two moments of 4 bytes each.
  EXPECT_NEAR(host.at("host optimizer"), 12 * 596e6, 12e6);
  EXPECT_NEAR(none.at("optimizer"), 12 * 596e6, 12e6);
  EXPECT_LT(host.at("optimizer"), 0.2 * kGiB);
  EXPECT_LT(host.at("planned"), none.at("planned") - 6 * kGiB);
  EXPECT_EQ(host.at("host"), host.at("host optimizer"));
}

TEST_F(Memory, PoliciesChangeNoBitAndResume) {
  const auto run = [&](const std::string& out, const std::vector<std::string>& more) {
    const auto o = world_->run(joined(world_->sft(out, {"--max-steps", "4", "--ckpt.interval", "2"}), more));
    ASSERT_EQ(o.code, 0) << o.err;
  };
  run("plain", {});
  run("offload", {"--model.ac-offloading.max-inflight-activations", "2", "--model.optim-cpu-offload"});
  EXPECT_EQ(world_->state("offload", 4), world_->state("plain", 4));
  EXPECT_EQ(world_->state("offload", 2), world_->state("plain", 2));
  // The result says what was planned and what was seen.
  const auto o = world_->run(joined(world_->sft("json", {"--max-steps", "1"}), {"--json"}));
  const auto result = nlohmann::json::parse(o.out).at("result");
  EXPECT_GT(result.at("planned_memory").get<double>(), 0);
  EXPECT_GT(result.at("peak_memory").get<double>(), result.at("planned_memory").get<double>() * 0.5);
}

TEST_F(Memory, SectionsThatContradictEachOtherAreRefused) {
  world_->expect_refused(world_->sft("refused", {"--model.ac.mode", "selective", "--model.ac-offloading"}),
                         "refused", {"model.ac_offloading", "contradict"});
  world_->expect_refused(world_->sft("refused", {"--model.ac-offloading.max-inflight-activations", "1"}),
                         "refused", {"max_inflight_activations"});
}

}  // namespace
}  // namespace rlcpp::test
