// `rlcpp sft` in several processes: one speaks, all stop together, checkpoints know nothing of processes, and
// a process that is gone or hangs takes all with it, by name.
#include "mpi_run.h"

#include <algorithm>
#include <fstream>

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

class Mpi : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new MpiWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
    // Several processes on two cores that other tests share: slow, and not always on time.
    if (!long_tier()) GTEST_SKIP() << "long tier";
  }
  static void copy(const std::string& from, const std::string& to) {
    fs::remove_all(*world_ / to);
    fs::copy(*world_ / from, *world_ / to, fs::copy_options::recursive);
  }
  static std::vector<std::string> entries(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(*world_ / folder))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Step 6 of an uninterrupted run of two processes, saved at 3 and 6; made once.
  static const std::string& whole() {
    static const std::string name = [] {
      const auto o = world_->mpi(2, world_->sft("whole", {"--ckpt.interval", "3"}));
      EXPECT_EQ(o.code, 0) << o.err;
      return std::string("whole");
    }();
    return name;
  }
  static MpiWorld* world_;
};
MpiWorld* Mpi::world_ = nullptr;

TEST_F(Mpi, TheFirstProcessSpeaksAloneAndThreadsGiveTheSameBits) {
  const auto o = world_->mpi(2, world_->sft("speaks", {"--ckpt.interval", "3", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto result = nlohmann::json::parse(o.out);  // one object and nothing else
  EXPECT_EQ(result.at("result").at("steps"), 6);
  EXPECT_EQ(count_of(o.err, "step 4/6"), 1U) << o.err;
  EXPECT_EQ(count_of(o.err, "device: "), 1U) << o.err;
  EXPECT_EQ(count_of(o.err, "rank 1: "), 0U) << o.err;
  const auto next = result.at("next").dump();
  EXPECT_NE(next.find("\"mpirun -n 2 "), std::string::npos) << next;
  EXPECT_NE(next.find("--ckpt.resume-step -1 --max-steps 12"), std::string::npos) << next;
  const auto metrics = world_->metrics("speaks");
  ASSERT_EQ(metrics.size(), 6U);
  EXPECT_EQ(entries("speaks/checkpoints"), (std::vector<std::string>{"latest", "step_3", "step_6"}));
  EXPECT_EQ(entries("speaks/weights"), (std::vector<std::string>{"step_3", "step_6"}));
  ASSERT_EQ(world_->run(world_->sft("threads", {"--ckpt.interval", "3", "--dist.ranks", "2"})).code, 0);
  const auto threads = world_->metrics("threads");
  for (std::size_t s = 0; s < metrics.size(); ++s)
    EXPECT_EQ(metrics[s].at("loss/mean"), threads.at(s).at("loss/mean")) << s;
  for (const int step : {3, 6}) {
    EXPECT_TRUE(world_->state("speaks", step) == world_->state("threads", step)) << step;
    const std::string weights = "/weights/step_" + std::to_string(step) + "/model.safetensors";
    EXPECT_TRUE(slurp(*world_ / ("speaks" + weights)) == slurp(*world_ / ("threads" + weights))) << step;
  }
}

TEST_F(Mpi, ADryRunAndBadInputAreSaidOnce) {
  const auto dry = world_->mpi(2, world_->sft("dry", {"--dry-run", "--json"}));
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(nlohmann::json::parse(dry.out).at("command"), "sft");
  EXPECT_EQ(count_of(dry.err, "dry run: everything fits"), 1U) << dry.err;
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
  // mpirun's processes have a terminal, and what they say ends in a file.
  setenv("TERM", "xterm-256color", 1);
  const auto plain = world_->mpi(2, world_->sft("dry", {"--dry-run"}));
  EXPECT_EQ(plain.code, 0) << plain.err;
  expect_has(plain.out, {"say "});
  EXPECT_EQ(count_of(plain.out + plain.err, "\x1b"), 0U);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--no-such-key", "1"},
                                                {"--data.name", *world_ / "nowhere"},
                                                {"--model.name", *world_ / "nothing"},
                                                {"--ckpt.resume-step", "7"}}) {
    const auto o = world_->mpi(2, world_->sft("wrong", wrong));
    SCOPED_TRACE(wrong.front() + "\n" + o.err);
    EXPECT_EQ(o.code, 2);
    EXPECT_EQ(count_of(o.err, "error: "), 1U);
    EXPECT_TRUE(o.out.empty()) << o.out;
  }
  // What one process alone finds, the first says for it.
  fs::create_directories(*world_ / "with/rows");
  fs::create_directories(*world_ / "without");
  fs::copy(*world_ / "train.jsonl", *world_ / "with/rows/train.jsonl");
  const auto words = world_->sft("apart", {"--data.name", "./rows"});
  const auto o = world_->mpi({words, words}, {*world_ / "with", *world_ / "without"});
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err, {"error: rank 1 failed: ", "rows"});
  EXPECT_EQ(count_of(o.err, "error: "), 1U) << o.err;
}

// The same words on machines with other files, or with disks of their own.
TEST_F(Mpi, OtherDataAndAnOutputDirectoryOfItsOwnAreRefused) {
  const std::string rows = slurp(*world_ / "train.jsonl");
  const std::vector<std::string> places = {*world_ / "all", *world_ / "part"};
  for (const std::string& place : places) fs::create_directories(place);
  std::ofstream(places[0] + "/rows.jsonl") << rows;
  std::ofstream(places[1] + "/rows.jsonl") << rows << rows.substr(0, rows.find('\n') + 1);
  const auto other = world_->sft("other", {"--data.name", "rows.jsonl"});
  const auto o = world_->mpi({other, other}, places);
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err, {"error: rank 1 has other data than rank 0"});
  EXPECT_EQ(count_of(o.err, "error: "), 1U) << o.err;

  auto own = world_->sft("own", {});
  *(std::ranges::find(own, "--output-dir") + 1) = "out";
  const auto apart = world_->mpi({own, own}, places);
  EXPECT_EQ(apart.code, 2) << apart.err;
  expect_has(apart.err, {"error: output_dir of rank 1 is not the directory of rank 0"});
  EXPECT_EQ(count_of(apart.err, "error: "), 1U) << apart.err;
}

// memory_limit may differ from process to process, what follows from it may not.
TEST_F(Mpi, LevelsThatProcessesChoseDifferentlyAreNamed) {
  // Of the tiny model a part of a rank is larger than the whole: it has one layer, and two are gathered at
  // once.
  world_->file("deep/config.json", R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
      "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 8, "num_attention_heads": 2,
      "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 320, "max_position_embeddings": 128,
      "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true, "torch_dtype": "float32"})");
  const std::vector<std::string> deep = {"--model.name", *world_ / "deep"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = deep;
    words.insert(words.end(), more.begin(), more.end());
    return world_->sft("levels", words);
  };
  const auto dry = world_->mpi(2, with({"--dry-run", "--json", "--dist.zero", "1"}));
  ASSERT_EQ(dry.code, 0) << dry.err;
  const auto planned = nlohmann::json::parse(dry.out).at("memory").at("planned").get<std::int64_t>();
  const auto o = world_->mpi({with({}), with({"--memory-limit", std::to_string(planned - 65536) + "B"})});
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err,
             {"the processes of this run chose different levels of ZeRO: 1 in process 0 and 2 in process 1",
              "set --dist.zero 2 for all"});
  world_->expect_no_orphan();
}

TEST_F(Mpi, ASignalToOneProcessStopsAllAfterOneStepWithACheckpoint) {
  for (const bool both : {false, true}) {
    const std::string out = both ? "both" : "one";
    const auto words = world_->sft(out, {"--max-steps", "1000000", "--clean"});
    const pid_t run = start_mpi({words, words}, *world_ / "o", *world_ / "e");
    for (int i = 0; i < 3000 && slurp(*world_ / (out + "/metrics.jsonl")).empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto processes = world_->processes();
    ASSERT_EQ(processes.size(), 2U) << slurp(*world_ / "e");
    kill(processes[1], SIGTERM);
    if (both) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      kill(processes[0], SIGTERM);
    }
    EXPECT_EQ(MpiWorld::wait_for(run), 143) << slurp(*world_ / "e");
    world_->expect_no_orphan();
    const auto metrics = world_->metrics(out);
    const auto last = metrics.back().at("step").get<int>();
    EXPECT_TRUE(fs::exists(*world_ / (out + "/checkpoints/step_" + std::to_string(last) + "/manifest.json")));
    EXPECT_EQ(slurp(*world_ / (out + "/checkpoints/latest")), "step_" + std::to_string(last) + "\n");
    expect_has(slurp(*world_ / "o"), {"SFT stopped by SIGTERM after step " + std::to_string(last)});
    if (!both) expect_has(slurp(*world_ / "e"), {"SIGTERM has reached another process"});
    // Goes on from there.
    const auto on = world_->mpi(
        2, world_->sft(out, {"--ckpt.resume-step", "-1", "--max-steps", std::to_string(last + 2)}));
    EXPECT_EQ(on.code, 0) << on.err;
  }
}

TEST_F(Mpi, CheckpointsGoOnAtAnyNumberOfProcessesRanksAndLevels) {
  const std::string& reference = whole();
  ASSERT_EQ(world_->mpi(2, world_->sft("half", {"--ckpt.interval", "3", "--max-steps", "3"})).code, 0);
  EXPECT_TRUE(world_->state("half", 3) == world_->state(reference, 3));
  const std::vector<std::string> on = {"--ckpt.interval", "3", "--ckpt.resume-step", "-1"};
  struct Case {
    std::string name;
    int processes;
    std::vector<std::string> more;
    bool same_bits;
  };
  // The sums over ranks have the order of the ranks: as many ranks give the same bits, others the same
  // numbers but for the rounding of f32, which AdamW can make as large as its step where a gradient is tiny.
  for (const Case& c : {Case{"same", 2, {}, true},
                        {"zero3", 2, {"--dist.zero", "3"}, false},
                        {"threads2", 1, {"--dist.ranks", "2"}, true},
                        {"threads3", 1, {"--dist.ranks", "3", "--dist.zero", "2"}, false},
                        {"alone", 1, {}, false},
                        {"three", 3, {"--dist.zero", "2"}, false}}) {
    SCOPED_TRACE(c.name);
    copy("half", c.name);
    std::vector<std::string> more = on;
    more.insert(more.end(), c.more.begin(), c.more.end());
    const auto words = world_->sft(c.name, more);
    const auto o = c.processes == 1 ? world_->run(words) : world_->mpi(c.processes, words);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(count_of(o.err, "resumed from"), 1U) << o.err;
    EXPECT_LE(world_->distance(c.name, reference, 6), 2e-5);
    if (c.same_bits) {
      EXPECT_TRUE(world_->state(c.name, 6) == world_->state(reference, 6));
    }
  }
  // And the other way: a checkpoint of one rank, continued by two processes.
  ASSERT_EQ(world_->run(world_->sft("single", {"--ckpt.interval", "3", "--max-steps", "3"})).code, 0);
  ASSERT_EQ(world_->mpi(2, world_->sft("single", on)).code, 0);
  EXPECT_LE(world_->distance("single", reference, 6), 2e-5);
}

// Every segment of a run by another number of processes, at every level, against one process that never
// stopped; and as many processes as threads are the same ranks.
TEST_F(Mpi, ThreeThenFiveThenEightProcesses) {
  ASSERT_EQ(world_->run(world_->sft("unbroken", {"--ckpt.interval", "2"})).code, 0);
  const auto segment = [&](const std::string& name, int count, bool threads, int steps,
                           std::vector<std::string> more) {
    more.insert(more.end(), {"--ckpt.interval", "2", "--max-steps", std::to_string(steps)});
    if (steps > 2) more.insert(more.end(), {"--ckpt.resume-step", "-1"});
    if (threads) more.insert(more.end(), {"--dist.ranks", std::to_string(count)});
    const auto words = world_->sft(name, more);
    const auto o = threads ? world_->run(words) : world_->mpi(count, words);
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(count_of(o.err, "resumed from"), steps > 2 ? 1U : 0U) << o.err;
  };
  for (const std::vector<std::string>& levels :
       {std::vector<std::string>{"1", "2", "3"}, {"3", "1", "2"}, {"2", "3", "1"}}) {
    SCOPED_TRACE(levels[0] + levels[1] + levels[2]);
    const std::string processes = "processes" + levels[0], threads = "as_threads" + levels[0];
    const std::vector<int> counts = {3, 5, 8};
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const int steps = 2 * static_cast<int>(i + 1);
      segment(processes, counts[i], false, steps, {"--dist.zero", levels[i]});
      segment(threads, counts[i], true, steps, {"--dist.zero", levels[i]});
      EXPECT_TRUE(world_->state(processes, steps) == world_->state(threads, steps)) << steps;
      EXPECT_LE(world_->distance(processes, "unbroken", steps), 2e-5) << steps;
    }
  }
}

// Four and eight processes from the start, at every level, against one.
TEST_F(Mpi, FourAndEightProcessesTrainAsOne) {
  ASSERT_EQ(world_->run(world_->sft("four_as_one", {"--ckpt.interval", "3"})).code, 0);
  for (const int count : {4, 8}) {
    for (const char* zero : {"1", "2", "3"}) {
      const std::string name = "p" + std::to_string(count) + "z" + zero;
      const auto o = world_->mpi(count, world_->sft(name, {"--ckpt.interval", "3", "--dist.zero", zero}));
      ASSERT_EQ(o.code, 0) << o.err;
      EXPECT_LE(world_->distance(name, "four_as_one", 6), 2e-5) << name;
      EXPECT_LE(world_->distance(name, "four_as_one", 3), 2e-5) << name;
    }
  }
}

TEST_F(Mpi, AdaptersAreSavedByTheFirstProcess) {
  const std::vector<std::string> lora = {"--model.lora.rank", "4", "--ckpt.interval", "2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), lora.begin(), lora.end());
    return more;
  };
  const auto o = world_->mpi(2, world_->sft("lora", with({"--max-steps", "4"})));
  ASSERT_EQ(o.code, 0) << o.err;
  ASSERT_EQ(world_->mpi(2, world_->sft("lora2", with({"--max-steps", "2"}))).code, 0);
  const auto on =
      world_->mpi(2, world_->sft("lora2", with({"--max-steps", "4", "--ckpt.resume-step", "-1"})));
  ASSERT_EQ(on.code, 0) << on.err;
  EXPECT_TRUE(world_->state("lora", 4) == world_->state("lora2", 4));
}

TEST_F(Mpi, ADamagedNewestCheckpointIsPassedOverByAll) {
  copy(whole(), "damaged");
  const std::string path = *world_ / "damaged/checkpoints/step_6/trainer/exp_avg_sq.safetensors";
  std::string text = slurp(path);
  text[text.size() - 3] ^= 1;
  std::ofstream(path, std::ios::binary) << text;
  const auto o = world_->mpi(2, world_->sft("damaged", {"--ckpt.interval", "3", "--ckpt.resume-step", "-1"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(count_of(o.err, "passed over"), 1U) << o.err;
  expect_has(o.err, {"resumed from " + *world_ / "damaged/checkpoints/step_3"});
  EXPECT_TRUE(world_->state("damaged", 6) == world_->state(whole(), 6));
}

// Killed at every stage of a save: the state before is whole, and the run goes on from it to the same bits.
TEST_F(Mpi, AProcessKilledWhileSavingLeavesTheStepBefore) {
  const std::string& reference = whole();
  const std::vector<std::string> save = {"--ckpt.interval", "3"};
  int round = 0;
  for (const char* point : {"checkpoint.write_block=kill:5", "checkpoint.read_block=kill:6",
                            "durable.sync=kill:9", "checkpoint.before_commit=kill:2"}) {
    for (const std::size_t victim : {1U, 0U}) {
      if (victim == 1 && std::string(point).starts_with("checkpoint.before_commit")) continue;
      if (victim == 1 && std::string(point).starts_with("durable.sync")) continue;
      const std::string out = "killed" + std::to_string(round++);
      SCOPED_TRACE(std::string(point) + " in process " + std::to_string(victim));
      std::vector<std::vector<std::string>> both(2, world_->sft(out, save));
      both[victim].insert(both[victim].end(), {"--fail", point});
      const auto o = world_->mpi(both);
      EXPECT_NE(o.code, 0);
      world_->expect_no_orphan();
      int last = 0;
      for (const std::string& name : entries(out + "/checkpoints")) {
        if (name.starts_with("step_") && name.find(".tmp-") == std::string::npos)
          last = std::max(last, std::stoi(name.substr(5)));
      }
      ASSERT_LE(last, 3) << o.err;
      std::vector<std::string> on = save;
      if (last > 0) {
        on.insert(on.end(), {"--ckpt.resume-step", "-1"});
      } else {
        on.emplace_back("--clean");
      }
      const auto again = world_->mpi(2, world_->sft(out, on));
      ASSERT_EQ(again.code, 0) << again.err;
      EXPECT_TRUE(world_->state(out, 6) == world_->state(reference, 6));
      for (const std::string& name : entries(out + "/checkpoints"))
        EXPECT_EQ(name.find(".tmp-"), std::string::npos) << name;
    }
  }
}

TEST_F(Mpi, AWriterThatFailsInOneProcessStopsAll) {
  std::vector<std::vector<std::string>> both(2, world_->sft("full", {"--ckpt.interval", "3"}));
  both[1].insert(both[1].end(), {"--fail", "checkpoint.write_block=error:5"});
  const auto o = world_->mpi(both);
  EXPECT_EQ(o.code, 1) << o.err;
  expect_has(o.err, {"rank 1", "fail point checkpoint.write_block acted"});
  world_->expect_no_orphan();
  EXPECT_EQ(entries("full/checkpoints"), (std::vector<std::string>{"latest", "step_3"}));
}

TEST_F(Mpi, AProcessKilledInAStepIsNamedByTheOthers) {
  for (const std::size_t victim : {1U, 0U}) {
    const std::string out = "gone" + std::to_string(victim);
    std::vector<std::vector<std::string>> all(3, world_->sft(out, {"--no-ckpt"}));
    all[victim].insert(all[victim].end(), {"--fail", "train.gradient=kill:3"});
    const auto begin = std::chrono::steady_clock::now();
    const auto o = world_->mpi(all);
    EXPECT_NE(o.code, 0);
    world_->expect_no_orphan();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
    expect_has(o.err, {"rank " + std::to_string(victim) + " (", "is gone: its connection closed"});
  }
}

TEST_F(Mpi, ARankThatNeverEntersIsNamedWithCollectiveAndNumber) {
  std::vector<std::vector<std::string>> both(2, world_->sft("hang", {"--no-ckpt", "--dist.timeout", "3"}));
  both[1].insert(both[1].end(), {"--fail", "dist.enter=hang:40"});
  const auto begin = std::chrono::steady_clock::now();
  const auto o = world_->mpi(both);
  EXPECT_EQ(o.code, 1) << o.err;
  world_->expect_no_orphan();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  expect_has(o.err, {"rank 0 gave up", "#40 [", "rank 1 (", "the limit is 3.0 s without progress"});
}

// By hand, where each process is a terminal of its own. CPU ranks need what mpirun gives them, so these meet,
// find that there is no MPI between them, and leave.
class ByHand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new MpiWorld;
    fs::create_directories(*world_ / "meet");
    fs::permissions(*world_ / "meet", fs::perms::owner_all);
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::vector<std::string> process(int number, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"--dist.processes", "2",
                                      "--dist.process",   std::to_string(number),
                                      "--dist.address",   "file:" + *world_ / "meet/here",
                                      "--no-ckpt"};
    words.insert(words.end(), more.begin(), more.end());
    // A directory a test: one that was started in is a used one.
    return world_->sft(::testing::UnitTest::GetInstance()->current_test_info()->name(), words);
  }
  static MpiWorld* world_;
};
MpiWorld* ByHand::world_ = nullptr;

TEST_F(ByHand, ProcessesMeetAndLeaveWithOneReasonAndOneCode) {
  if (const std::string why = no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const pid_t one = world_->start(process(1), *world_ / "o1", *world_ / "e1");
  const auto o = world_->run(process(0));
  EXPECT_EQ(o.code, 2) << o.err;
  EXPECT_EQ(MpiWorld::wait_for(one), 2) << slurp(*world_ / "e1");
  expect_has(o.err, {"MPI counts this process as 0 of 1", "by hand or by torchrun need a GPU each"});
  EXPECT_EQ(slurp(*world_ / "e1"), "");
}

// What is wrong with one process alone is on its terminal; the others wait for it.
TEST_F(ByHand, WhatIsWrongWithOneProcessIsSaidThere) {
  const std::pair<const char*, const char*> variables[] = {
      {"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29400"}};
  for (const auto& [name, value] : variables) setenv(name, value, 1);
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--no-such-key", "1"},
                                                {"--optim.lr", "abc"},
                                                {"@", *world_ / "missing.toml"}}) {
    const auto o = world_->run(world_->sft("alone", wrong));
    EXPECT_EQ(o.code, 2);
    expect_has(o.err, {"error: process 1: "});
  }
  for (const auto& [name, value] : variables) unsetenv(name);
}

TEST_F(ByHand, AProcessThatDoesNotComeIsNamedInTime) {
  const auto o = world_->run(process(0, {"--dist.start-timeout", "1"}));
  EXPECT_EQ(o.code, 1);
  expect_has(o.err, {"1 of 2 processes came to", "rank 1 did not come in time"});
  const auto other = world_->run(process(1, {"--dist.start-timeout", "1"}));
  EXPECT_EQ(other.code, 1);
  expect_has(other.err, {"process 0 was not reached"});
}

// A rank that stands still and cannot be asked is ended by its own process's watch.
TEST_F(ByHand, AProcessKilledBeforeItJoinsIsNamedAndTakesTheOtherWithIt) {
  if (!long_tier()) GTEST_SKIP() << "long tier";  // 15 s from the fault to the end
  const auto begin = std::chrono::steady_clock::now();
  const pid_t one = world_->start(process(1, {"--fail", "dist.join=kill"}), *world_ / "o1", *world_ / "e1");
  const auto o = world_->run(process(0, {"--fail", "dist.join=hang"}));
  EXPECT_EQ(MpiWorld::wait_for(one), 128 + SIGKILL);
  EXPECT_EQ(o.code, 1) << o.err;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(40));
  expect_has(o.err, {"rank 1 (", "pid " + std::to_string(one), "is gone", "killed"});
  world_->expect_no_orphan();
}

}  // namespace
}  // namespace rlcpp::test
