// Processes of one run that are started with different arguments are refused where they meet, each with the
// key and both values; what may differ between processes does not keep them apart. By hand, with torchrun's
// variables and under mpirun.
#include <fmt/format.h>

#include "mpi_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

class Meet : public ::testing::Test {
 protected:
  using Words = std::vector<std::string>;
  static void SetUpTestSuite() {
    world_ = new MpiWorld;
    world_->file("trainer.toml",
                 fmt::format("threads = 1\nmax_steps = 6\n[model]\nname = \"{}\"\nseq_len = 64\n"
                             "[data.fake]\nbatch_size = 4\n",
                             *world_ / "model"));
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  // CPU processes have no MPI between them here: those that meet leave with this.
  static constexpr const char* kMet = "MPI counts this process as 0 of 1";

  static std::string address() {
    fs::create_directories(*world_ / "meet");
    fs::permissions(*world_ / "meet", fs::perms::owner_all);
    return "file:" + *world_ / "meet/here";
  }
  static Words by_hand(int number, const Words& words) {
    Words out = words;
    if (std::find(words.begin(), words.end(), "--dist.address") == words.end())
      out.insert(out.end(), {"--dist.address", address()});
    out.insert(out.end(), {"--dist.processes", "2", "--dist.process", std::to_string(number)});
    return out;
  }
  static Words sft(const Words& more = {}) { return world_->sft("out", more); }

  // Both at once; torchrun's variables in place of the flags if `torchrun`.
  static std::array<ProcessOutcome, 2> both(const Words& zero, const Words& one, bool torchrun = false) {
    std::array<pid_t, 2> pids{};
    std::array<ProcessOutcome, 2> out;
    for (int p = 0; p < 2; ++p) {
      Words words = p == 0 ? zero : one;
      const std::string number = std::to_string(p);
      if (torchrun) {
        for (const auto& [name, value] : {std::pair<const char*, std::string>{"RANK", number},
                                          {"WORLD_SIZE", "2"},
                                          {"LOCAL_RANK", number},
                                          {"LOCAL_WORLD_SIZE", "2"}})
          setenv(name, value.c_str(), 1);
        words.insert(words.end(), {"--dist.address", address()});
      } else {
        words = by_hand(p, words);
      }
      pids[p] = world_->start(words, *world_ / ("o" + number), *world_ / ("e" + number));
    }
    for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}) unsetenv(name);
    for (int p = 0; p < 2; ++p) {
      out[p].code = MpiWorld::wait_for(pids[p]);
      out[p].err = slurp(*world_ / ("e" + std::to_string(p)));
    }
    return out;
  }
  static void expect_refused(const std::array<ProcessOutcome, 2>& processes, const std::string& sentence) {
    for (const ProcessOutcome& o : processes) {
      EXPECT_EQ(o.code, 2) << o.err;
      expect_has(o.err, {"the processes of this run were started with different values: ", sentence,
                         "start all processes of a run with the same arguments"});
      EXPECT_EQ(count_of(o.err, "error: "), 1U) << o.err;
    }
    EXPECT_FALSE(fs::exists(*world_ / "out"));
  }
  static MpiWorld* world_;
};
MpiWorld* Meet::world_ = nullptr;

TEST_F(Meet, EveryKeyThatDecidesTheResultMustBeTheSame) {
  const std::string model = *world_ / "model", other = *world_ / "other";
  struct Case {
    Words zero, one;
    std::string key, first, second;
  };
  const std::vector<Case> cases = {
      {{"--optim.lr", "2e-2"}, {}, "optim.lr", "0.02", "0.01"},
      {{}, {"--seed", "5"}, "seed", "0", "5"},
      {{}, {"--data.seed", "3"}, "data.seed", "0", "3"},
      {{}, {"--data.name", other}, "data.name", "\"" + world_->dir().path() + "\"", "\"" + other + "\""},
      {{}, {"--data.batch-size", "8"}, "data.batch_size", "4", "8"},
      {{}, {"--data.seq-len", "32"}, "data.seq_len", "64", "32"},
      {{}, {"--model.name", other}, "model.name", "\"" + model + "\"", "\"" + other + "\""},
      {{}, {"--max-steps", "7"}, "max_steps", "6", "7"},
      {{"--dist.zero", "1"}, {"--dist.zero", "3"}, "dist.zero", "1", "3"},
      {{}, {"--ckpt.interval", "2"}, "ckpt.interval", "None", "2"},
      {{}, {"--no-ckpt"}, "ckpt", "set", "None"},
      {{}, {"--model.lora.rank", "8"}, "model.lora", "None", "set"},
      {{"--model.lora.rank", "4"}, {"--model.lora.rank", "8"}, "model.lora.rank", "4", "8"},
      {{}, {"--output-dir", other}, "output_dir", "\"" + *world_ / "out" + "\"", "\"" + other + "\""},
      {{}, {"--ckpt.resume-step", "3"}, "ckpt.resume_step", "None", "3"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    SCOPED_TRACE(c.key);
    const auto begin = std::chrono::steady_clock::now();
    const auto o = both(sft(c.zero), sft(c.one), /*torchrun=*/i % 2 == 1);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    expect_refused(o, fmt::format("{} is {} in process 0 (", c.key, c.first));
    expect_refused(o, fmt::format(" and {} in process 1 (", c.second));
  }
}

TEST_F(Meet, AnotherCommandIsNamedFirst) {
  const Words trainer = {"trainer", "@", *world_ / "trainer.toml", "--output-dir", *world_ / "out"};
  const auto o = both(sft(), trainer);
  expect_refused(o, "the command is sft in process 0 (");
  expect_refused(o, " and trainer in process 1 (");
  // The trainer of fake rollouts meets the same way.
  Words slower = trainer;
  slower.insert(slower.end(), {"--optim.lr", "0.5"});
  expect_refused(both(trainer, slower), " and 0.5 in process 1 (");
}

TEST_F(Meet, WhatMayDifferKeepsNobodyApart) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const Words own = {"--threads",
                     "2",
                     "--log.level",
                     "debug",
                     "--no-log.file",
                     "--dist.timeout",
                     "77",
                     "--dist.start-timeout",
                     "50",
                     "--memory-limit",
                     "3GiB",
                     "--trace-path",
                     *world_ / "trace",
                     "--fail",
                     "train.gradient=nan:9",
                     "--device",
                     "cpu"};
  const auto o = both(sft(), sft(own));
  for (const ProcessOutcome& process : o) EXPECT_EQ(process.code, 2) << process.err;
  expect_has(o[0].err, {kMet});
}

TEST_F(Meet, UnderMpirunTheRunDoesNotBegin) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  fs::remove_all(*world_ / "out");
  const auto o = world_->mpi({sft(), sft({"--optim.lr", "2e-2"})});
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err, {"optim.lr is 0.01 in process 0 (", " and 0.02 in process 1 ("});
  EXPECT_FALSE(fs::exists(*world_ / "out"));
  world_->expect_no_orphan();
}

TEST_F(Meet, RunsWithDifferentIdsDoNotMeet) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const pid_t zero = world_->start(by_hand(0, sft({"--dist.run-id", "a"})), *world_ / "o0", *world_ / "e0");
  const auto one = world_->run(by_hand(1, sft({"--dist.run-id", "b"})));
  EXPECT_EQ(one.code, 2);
  expect_has(one.err, {"rank 1: run \"a\" meets at " + address() + ", and this process is of run \"b\""});
  EXPECT_EQ(waitpid(zero, nullptr, WNOHANG), 0) << "the other run waits on";
  const auto right = world_->run(by_hand(1, sft({"--dist.run-id", "a"})));
  EXPECT_EQ(right.code, 2);
  EXPECT_EQ(MpiWorld::wait_for(zero), 2);
  expect_has(slurp(*world_ / "e0"), {"a process of run \"b\" came to", kMet});
}

// Outside of collectives nobody waits for anybody: the watch of the ranks finds it.
TEST_F(Meet, RanksThatAllStandStillEndTheRun) {
  if (!long_tier()) GTEST_SKIP() << "long tier";  // 15 s from the fault to the end
  const auto o = world_->run(world_->sft(
      "still", {"--dist.ranks", "2", "--dist.idle-timeout", "2", "--fail", "train.gradient=hang:*"}));
  EXPECT_EQ(o.code, 1);
  expect_has(o.err, {"error: no rank did anything for ", "rank 0 (", "rank 1 (", "entered last: all_gather #",
                     "[metrics of the step", "the limit is 2.0 s (dist.idle_timeout)"});
}

TEST_F(Meet, APlaceWhereNobodyCanMeetIsRefusedBeforeItIsAnnounced) {
  for (const auto& [place, sentence] :
       {std::pair<std::string, std::string>{"nonsense",
                                            "\"nonsense\" where the ranks meet has not the form HOST:PORT"},
        {"localhost:70000", "\"localhost:70000\" where the ranks meet has not the form HOST:PORT"},
        {"file:" + *world_ / "absent/here", "absent of the file where the ranks meet is not there"}}) {
    for (const int number : {0, 1}) {
      const auto o = world_->run(by_hand(number, sft({"--dist.address", place})));
      EXPECT_EQ(o.code, 2);
      EXPECT_TRUE(o.err.starts_with("error: ")) << o.err;
      expect_has(o.err, {sentence});
    }
  }
}

}  // namespace
}  // namespace rlcpp::test
