// Faults between the ranks of one process, and the roll that names the guilty one.
#include <array>
#include <cmath>

#include "base/failpoint.h"
#include "ranks.h"

namespace rlcpp::dist {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

Entry entry_of(std::uint64_t sequence, const char* name, std::int64_t count = 8) {
  Entry entry;
  entry.sequence = sequence;
  entry.collective = Collective::kAllReduce;
  entry.count = count;
  entry.set_name(name);
  return entry;
}

TEST(Entry, SaysWhatItIs) {
  Entry entry = entry_of(8812, "gradients layer 3", 6291456);
  EXPECT_EQ(text_of(entry), "all_reduce #8812 [gradients layer 3, sum of 6291456 f32, 25.2 MB]");
  entry.collective = Collective::kBroadcast;
  entry.root = 2;
  entry.count = 5;
  entry.type = DType::kF64;
  EXPECT_EQ(text_of(entry), "broadcast #8812 [gradients layer 3, 5 f64, from rank 2]");
  entry.set_name(std::string(100, 'x'));
  EXPECT_EQ(text_of(entry), "broadcast #8812 [" + std::string(39, 'x') + ", 5 f64, from rank 2]");
  EXPECT_EQ(text_of(Entry{}), "nothing yet");
}

TEST(Roll, NamesThoseThatHoldUpACollective) {
  Roll roll(4);
  for (int rank = 0; rank < 4; ++rank) {
    roll.describe(rank, "node" + std::to_string(rank));
    if (rank != 3) roll.arrive(rank);
  }
  roll.enter(0, entry_of(1, "a"));
  roll.enter(1, entry_of(1, "a"));
  roll.enter(1, entry_of(2, "b"));
  const std::string two = roll.awaited(2);
  EXPECT_TRUE(contains(two, "rank 0 (node0) entered last: all_reduce #1 [a")) << two;
  EXPECT_TRUE(contains(two, "rank 2 (node2) entered last: nothing yet")) << two;
  EXPECT_TRUE(contains(two, "rank 3 (node3) never arrived")) << two;
  EXPECT_FALSE(contains(two, "rank 1")) << two;
  // All have entered it on the host: then it is a device that has not come so far.
  for (int rank = 0; rank < 4; ++rank) {
    roll.enter(rank, entry_of(2, "b"));
    if (rank != 2) roll.begin(rank, 2);
  }
  EXPECT_TRUE(contains(roll.awaited(2), "rank 2 (node2)")) << roll.awaited(2);
  EXPECT_TRUE(contains(roll.awaited(2), "its device has not come to this one")) << roll.awaited(2);
  roll.begin(2, 2);
  EXPECT_TRUE(contains(roll.awaited(2), "every rank is in it")) << roll.awaited(2);
  EXPECT_FALSE(roll.fault().has_value());
}

TEST(Roll, FindsTheFirstDisagreementHoweverFarApartTheRanksAre) {
  for (const bool count : {true, false}) {
    Roll roll(2);
    roll.arrive(0);
    roll.arrive(1);
    for (std::uint64_t s = 1; s <= 3000; ++s) roll.enter(0, entry_of(s, "x", static_cast<std::int64_t>(s)));
    for (std::uint64_t s = 1; s <= 1499; ++s) roll.enter(1, entry_of(s, "x", static_cast<std::int64_t>(s)));
    EXPECT_FALSE(roll.fault().has_value());
    roll.enter(1, count ? entry_of(1500, "x", 7) : entry_of(1500, "y", 1500));
    roll.enter(1, entry_of(1501, "z", 9));
    ASSERT_TRUE(roll.fault().has_value());
    EXPECT_TRUE(contains(roll.fault()->what, "#1500")) << roll.fault()->what;
  }
}

TEST(Roll, ARankThatLeftIsAFaultOnlyForThoseWhoWaitForIt) {
  Roll roll(2);
  roll.arrive(0);
  roll.arrive(1);
  roll.enter(0, entry_of(1, "last"));
  roll.enter(1, entry_of(1, "last"));
  roll.leave(1);
  EXPECT_FALSE(roll.fault().has_value());
  roll.enter(0, entry_of(2, "one more"));
  ASSERT_TRUE(roll.fault().has_value());
  EXPECT_TRUE(contains(roll.fault()->what, "rank 1 left the run")) << roll.fault()->what;
  EXPECT_TRUE(contains(roll.fault()->what, "one more")) << roll.fault()->what;
}

class ThreadFaults : public testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
};

TEST_F(ThreadFaults, ARankThatNeverEntersEndsTheOthersInTime) {
  World world(threads_world(3, short_deadlines()));
  const auto begun = std::chrono::steady_clock::now();
  const auto errors = run_ranks(world, [&](Communicator& c) {
    Values values(DType::kF32, 10);
    c.all_reduce(values.tensor(), Reduction::kSum, "first");
    if (c.rank() == 2) {  // stays, but does something else
      while (!world.failed()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    c.all_reduce(values.tensor(), Reduction::kSum, "second");
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  EXPECT_GE(seconds, 1.5);
  EXPECT_LT(seconds, 6.0);
  for (const std::string& error : errors) {
    EXPECT_TRUE(contains(error, "all_reduce #2 [second, sum of 10 f32]")) << error;
    EXPECT_TRUE(contains(error, "rank 2 (")) << error;
    EXPECT_TRUE(contains(error, "entered last: all_reduce #1 [first")) << error;
  }
}

TEST_F(ThreadFaults, ALongerLimitIsObeyed) {
  World world(threads_world(2, short_deadlines()));
  world.set_collective_limit(std::chrono::seconds(30));
  const auto errors = run_ranks(world, [&](Communicator& c) {
    if (c.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // a checkpoint
    c.barrier("saved");
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

TEST_F(ThreadFaults, ARankThatFailsIsNotWaitedFor) {
  World world(threads_world(3));
  const auto begun = std::chrono::steady_clock::now();
  const auto errors = run_ranks(world, [](Communicator& c) {
    c.barrier("start");
    if (c.rank() == 1) throw bad_input("row 7 of the data is broken");
    c.barrier("step");
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  EXPECT_TRUE(contains(errors[1], "row 7")) << errors[1];
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_TRUE(contains(errors[other], "rank 1 (")) << errors[other];
    EXPECT_TRUE(contains(errors[other], "left the run")) << errors[other];
    EXPECT_TRUE(contains(errors[other], "barrier #2 [step]")) << errors[other];
  }
}

TEST_F(ThreadFaults, MismatchesAreNamedOnAllRanksAtOnce) {
  using Body = std::function<void(Communicator&, Values&)>;
  struct Case {
    const char* text;
    Body faulty;
  };
  const std::vector<Case> cases = {
      {"sum of 9 f32",
       [](Communicator& c, Values& v) { c.all_reduce(v.tensor().rows(0, 9), Reduction::kSum, "g"); }},
      {"max of 10 f32", [](Communicator& c, Values& v) { c.all_reduce(v.tensor(), Reduction::kMax, "g"); }},
      {"sum of 5 f64",
       [](Communicator& c, Values& v) {
         c.all_reduce(Tensor(v.at(0), DType::kF64, {5}), Reduction::kSum, "g");
       }},
      {"barrier #2 [g]", [](Communicator& c, Values&) { c.barrier("g"); }},
      {"[h, sum of 10 f32]",
       [](Communicator& c, Values& v) { c.all_reduce(v.tensor(), Reduction::kSum, "h"); }},
      {"from rank 1", [](Communicator& c, Values& v) { c.broadcast(v.tensor(), 1, "g"); }}};
  for (const Case& one : cases) {
    World world(threads_world(3));
    const auto begun = std::chrono::steady_clock::now();
    const auto errors = run_ranks(world, [&](Communicator& c) {
      Values values(DType::kF32, 10);
      c.barrier("start");
      if (c.rank() == 1) {
        one.faulty(c, values);
      } else {
        c.all_reduce(values.tensor(), Reduction::kSum, "g");
      }
      c.barrier("never reached by anyone");
    });
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
    for (const std::string& error : errors) {
      EXPECT_TRUE(contains(error, "different collectives as #2")) << error;
      EXPECT_TRUE(contains(error, one.text)) << error;
      EXPECT_TRUE(contains(error, "all_reduce #2 [g, sum of 10 f32]")) << error;
    }
  }
}

TEST_F(ThreadFaults, AfterAFaultEveryCallThrowsTheSame) {
  World world(threads_world(2));
  const auto errors = run_ranks(world, [&](Communicator& c) {
    if (c.rank() == 1) world.fail({"the sky fell", "it was loose", "hold it up"});
    for (int i = 0; i < 3; ++i) {
      try {
        for (;;) c.barrier("b");
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kFailed);
        EXPECT_TRUE(contains(error.render(), "the sky fell")) << error.render();
      }
    }
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
}

TEST_F(ThreadFaults, AProcessThatDoesNotLeaveIsEnded) {
  WorldOptions options = threads_world(2, short_deadlines());
  options.deadlines.leave = std::chrono::milliseconds(300);
  std::atomic<bool> left{false};
  std::string text;
  options.leave = [&](const std::string& last_words, ExitCode) {
    text = last_words;
    left = true;
  };
  World world(options);
  const auto errors = run_ranks(world, [&](Communicator& c) {
    if (c.rank() == 0) return c.barrier("b");
    while (!left) std::this_thread::sleep_for(std::chrono::milliseconds(5));  // hangs elsewhere
  });
  EXPECT_TRUE(contains(text, "barrier #1 [b]")) << text;
  EXPECT_TRUE(contains(text, "rank 1 (")) << text;
  EXPECT_TRUE(contains(errors[0], "barrier #1 [b]")) << errors[0];
}

TEST_F(ThreadFaults, ALongCollectiveIsListedWithTheWaitsOfTheProcess) {
  World world(threads_world(2));
  std::string seen;
  const auto errors = run_ranks(world, [&](Communicator& c) {
    if (c.rank() == 1) {
      for (int i = 0; i < 500 && seen.empty(); ++i) {
        for (const std::string& wait : current_waits()) seen += wait + "\n";
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    c.barrier("b");
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
  EXPECT_TRUE(contains(seen, "rank 0 is in barrier #1 [b]")) << seen;
  EXPECT_TRUE(contains(seen, "for rank 1 (")) << seen;
}

TEST_F(ThreadFaults, ThreadsThatAllStandStillOutsideOfCollectivesAreSpokenOfAndThenEnded) {
  Deadlines limits = long_deadlines();
  limits.idle = std::chrono::milliseconds(2500);
  World world(threads_world(2, limits));
  std::atomic<bool> spoken{false};
  const auto errors = run_ranks(world, [&](Communicator& c) {
    c.barrier("step");
    c.note("reads the rows of step 2");
    while (!world.failed()) {
      for (const std::string& wait : current_waits()) {
        spoken = spoken || (wait.find("for any of 2 ranks to go on: rank 0 (") != std::string::npos &&
                            wait.find("then: reads the rows of step 2; rank 1 (") != std::string::npos);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    c.barrier("next");
  });
  EXPECT_TRUE(spoken);
  for (const std::string& error : errors) {
    EXPECT_NE(error.find("no rank did anything for "), std::string::npos) << error;
    EXPECT_NE(error.find("rank 1 ("), std::string::npos) << error;
    EXPECT_NE(error.find("entered last: barrier #1 [step], then: reads the rows of step 2"),
              std::string::npos)
        << error;
  }
  for (const std::string& wait : current_waits())
    EXPECT_EQ(wait.find("ranks to go on"), std::string::npos) << wait;
}

TEST_F(ThreadFaults, TheFailPointHitsARankOnItsWayIn) {
  failpoint::arm("dist.enter=error:3");
  World world(threads_world(2));
  const auto errors = run_ranks(world, [](Communicator& c) {
    for (int i = 0; i < 5; ++i) c.barrier("b");
  });
  const bool first = contains(errors[0], "fail point dist.enter");
  EXPECT_TRUE(contains(errors[first ? 0 : 1], "fail point dist.enter")) << errors[0] << errors[1];
  EXPECT_TRUE(contains(errors[first ? 1 : 0], "left the run")) << errors[0] << errors[1];
}

}  // namespace
}  // namespace rlcpp::dist
