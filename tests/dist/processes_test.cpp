// Ranks in several processes watch each other over the side channel: a rank that dies, leaves, never comes or
// enters something else is named by all others, within the deadline, with exit code 1. These runs carry no
// data, so they need neither MPI nor a GPU.
#include <netinet/in.h>
#include <sys/socket.h>

#include "dist/connection.h"
#include "processes.h"

namespace rlcpp::dist {
namespace {

constexpr const char* kLimit = "2000";

std::vector<std::unique_ptr<Process>> start(const test::TemporaryDirectory& folder, const std::string& what,
                                            int ranks = 3, const char* limit = kLimit) {
  return start_ranks(ranks, folder, {what, "--carrier", "none", "--limit", limit, "--faulty", "1"},
                     "file:" + (folder / "meeting"));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Processes, HealthyRanksEndInOrder) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "none", 5);
  for (auto& rank : ranks) EXPECT_EQ(rank->wait(), 0) << rank->text();
}

TEST(Processes, AKilledRankIsNamedByAllOthers) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "kill", 3, "30000");
  EXPECT_EQ(ranks[1]->wait(), 128 + SIGKILL);
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    const std::string text = ranks[other]->text();
    EXPECT_TRUE(contains(text, "rank 1 (")) << text;
    EXPECT_TRUE(contains(text, "pid " + std::to_string(ranks[1]->pid()))) << text;
    EXPECT_TRUE(contains(text, "its connection closed")) << text;
    EXPECT_TRUE(contains(text, "all_reduce #2 [gradients")) << text;
    // The connection tells at once; nobody waits for a deadline of 30 s.
    EXPECT_LT(ranks[other]->seconds(), 10.0);
  }
}

TEST(Processes, TheDeathOfRankZeroIsNoticedToo) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(3, folder, {"kill", "--carrier", "none", "--limit", "30000", "--faulty", "0"},
                           "file:" + (folder / "meeting"));
  EXPECT_EQ(ranks[0]->wait(), 128 + SIGKILL);
  for (const std::size_t other : {1U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    EXPECT_TRUE(contains(ranks[other]->text(), "rank 0 (")) << ranks[other]->text();
    EXPECT_LT(ranks[other]->seconds(), 10.0);
  }
}

TEST(Processes, ARankThatNeverEntersIsNamedWithCollectiveAndNumber) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "sleep");
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    const std::string text = ranks[other]->text();
    EXPECT_TRUE(contains(text, "all_reduce #3 [gradients layer 3, sum of 1000 f32]")) << text;
    EXPECT_TRUE(contains(text, "rank 1 (")) << text;
    EXPECT_TRUE(contains(text, "entered last: all_reduce #2 [gradients, sum of 1000 f32]")) << text;
    EXPECT_TRUE(contains(text, "the limit is 2.0 s")) << text;
    EXPECT_GE(ranks[other]->seconds(), 2.0);
    EXPECT_LT(ranks[other]->seconds(), 10.0);
  }
  // The sleeping one is no orphan: its watch ends it, though its thread comes to no check.
  EXPECT_EQ(ranks[1]->wait(), 1);
  EXPECT_TRUE(contains(ranks[1]->text(), "all_reduce #3")) << ranks[1]->text();
  EXPECT_LT(ranks[1]->seconds(), 15.0);
}

TEST(Processes, AStoppedRankIsNamedWithHowLongItWasSilent) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "slow", 3, "4000");
  for (int i = 0; i < 3000 && !contains(ranks[1]->text(), "step 3\n"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ranks[1]->signal(SIGSTOP);
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    const std::string text = ranks[other]->text();
    EXPECT_TRUE(contains(text, "rank 1 (")) << text;
    EXPECT_TRUE(contains(text, "its process last heard")) << text;
  }
  // When it goes on it hears of the fault, or finds the others gone.
  ranks[1]->signal(SIGCONT);
  EXPECT_EQ(ranks[1]->wait(), 1) << ranks[1]->text();
}

TEST(Processes, AStopBelowTheDeadlineHarmsNobody) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "slow", 3, "30000");
  for (int i = 0; i < 3000 && !contains(ranks[0]->text(), "step 3\n"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  for (const std::size_t stopped : {1U, 0U}) {  // a guest, and the host of the side channel
    ranks[stopped]->signal(SIGSTOP);
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    ranks[stopped]->signal(SIGCONT);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  for (auto& rank : ranks) EXPECT_EQ(rank->wait(), 0) << rank->text();
}

// No collective waits, so no deadline of a collective finds it.
TEST(Processes, RanksThatAllStandStillAreNamedWithWhatTheyDidLast) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(
      3, folder, {"still", "--carrier", "none", "--limit", "30000", "--faulty", "9", "--idle", "1500"},
      "file:" + (folder / "meeting"));
  for (auto& rank : ranks) {
    EXPECT_EQ(rank->wait(), 1);
    const std::string text = rank->text();
    EXPECT_TRUE(contains(text, "error: no rank did anything for ")) << text;
    for (const char* name : {"rank 0 (", "rank 1 (", "rank 2 ("}) EXPECT_TRUE(contains(text, name)) << text;
    EXPECT_TRUE(contains(text,
                         "entered last: all_reduce #2 [gradients, sum of 1000 f32], then: reads the rows of "
                         "step 3 of 6"))
        << text;
    EXPECT_TRUE(contains(text, "the limit is 1.5 s (dist.idle_timeout)")) << text;
    EXPECT_LT(rank->seconds(), 15.0);
  }
}

TEST(Processes, RanksThatSayWhatTheyDoMayTakeTheirTime) {
  const test::TemporaryDirectory folder;
  auto ranks = start_ranks(
      2, folder, {"busy", "--carrier", "none", "--limit", "30000", "--faulty", "9", "--idle", "1200"},
      "file:" + (folder / "meeting"));
  for (auto& rank : ranks) EXPECT_EQ(rank->wait(), 0) << rank->text();
}

TEST(Processes, AnotherCollectiveUnderTheSameNumberIsFoundAtOnce) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "swap", 3, "30000");
  for (auto& rank : ranks) {
    EXPECT_EQ(rank->wait(), 1);
    const std::string text = rank->text();
    EXPECT_TRUE(contains(text, "different collectives as #3")) << text;
    EXPECT_TRUE(contains(text, "barrier #3 [validation]")) << text;
    EXPECT_TRUE(contains(text, "all_reduce #3 [gradients layer 3")) << text;
    EXPECT_LT(rank->seconds(), 10.0);
  }
}

TEST(Processes, AnotherSizeIsFoundAtOnce) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "short", 2, "30000");
  for (auto& rank : ranks) {
    EXPECT_EQ(rank->wait(), 1);
    EXPECT_TRUE(contains(rank->text(), "sum of 999 f32")) << rank->text();
    EXPECT_TRUE(contains(rank->text(), "sum of 1000 f32")) << rank->text();
    EXPECT_LT(rank->seconds(), 10.0);
  }
}

TEST(Processes, ARankThatLeavesEarlyIsNotWaitedFor) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "leave", 3, "30000");
  EXPECT_EQ(ranks[1]->wait(), 0) << ranks[1]->text();
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    EXPECT_TRUE(contains(ranks[other]->text(), "left the run")) << ranks[other]->text();
    EXPECT_TRUE(contains(ranks[other]->text(), "rank 1 (")) << ranks[other]->text();
    EXPECT_LT(ranks[other]->seconds(), 10.0);
  }
}

TEST(Processes, ARankThatFailsBeforeItJoinsIsNamed) {
  const test::TemporaryDirectory folder;
  auto ranks = start(folder, "stay-away", 3, "30000");
  EXPECT_EQ(ranks[1]->wait(), 2) << ranks[1]->text();
  for (const std::size_t other : {0U, 2U}) {
    EXPECT_EQ(ranks[other]->wait(), 1);
    EXPECT_TRUE(contains(ranks[other]->text(), "rank 1 (")) << ranks[other]->text();
    EXPECT_TRUE(contains(ranks[other]->text(), "left")) << ranks[other]->text();
    EXPECT_LT(ranks[other]->seconds(), 10.0);
  }
}

TEST(Processes, RanksThatCountDifferentlyAreRefused) {
  const test::TemporaryDirectory folder;
  const std::string address = "file:" + (folder / "meeting");
  const std::vector<std::string> command = {rank_program(), "none",     "--carrier", "none",      "--limit",
                                            "2000",         "--faulty", "9",         "--address", address};
  Process zero(command, {{"RANK", "0"}, {"WORLD_SIZE", "2"}}, folder / "zero");
  Process one(command, {{"RANK", "1"}, {"WORLD_SIZE", "3"}}, folder / "one");
  EXPECT_EQ(zero.wait(), 2) << zero.text();
  EXPECT_EQ(one.wait(), 2) << one.text();
  EXPECT_TRUE(contains(one.text(), "process 1 counts 3 processes of 1 ranks, process 0 counts 2 of 1"))
      << one.text();
}

// A run on a port: strangers are kept out, and others that wait are let in.
TEST(Processes, AStrangerOnThePortDisturbsNobody) {
  const test::TemporaryDirectory folder;
  int port = 0;
  {
    const Socket free = listen_on("127.0.0.1", 0);
    port = port_of(free);
  }
  const std::string address = "127.0.0.1:" + std::to_string(port);
  const std::vector<std::string> command = {rank_program(), "none", "--carrier", "none",  "--limit",  "20000",
                                            "--faulty",     "9",    "--address", address, "--run-id", "mine"};
  std::vector<std::string> foreign = command;
  foreign.back() = "another run";
  Process zero(command, {{"RANK", "0"}, {"WORLD_SIZE", "2"}}, folder / "zero");
  std::string why;
  Socket raw;
  for (int i = 0; i < 500 && !raw.open(); ++i) {
    raw = connect_to("127.0.0.1", port, &why);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(raw.open()) << why;
  ::send(raw.fd(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
  Socket silent = connect_to("127.0.0.1", port, &why);
  ASSERT_TRUE(silent.open()) << why;
  Process stranger(foreign, {{"RANK", "1"}, {"WORLD_SIZE", "2"}}, folder / "stranger");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  Process one(command, {{"RANK", "1"}, {"WORLD_SIZE", "2"}}, folder / "one");
  EXPECT_EQ(zero.wait(), 0) << zero.text();
  EXPECT_EQ(one.wait(), 0) << one.text();
  EXPECT_EQ(stranger.wait(std::chrono::seconds(10)), 2);
  EXPECT_TRUE(contains(stranger.text(), "error: run \"mine\" meets at " + address +
                                            ", and this process is of run \"another run\""))
      << stranger.text();
  EXPECT_TRUE(contains(zero.text(), "warn: a process of run \"another run\" came to " + address))
      << zero.text();
  // Who said nothing was told nothing.
  char byte = 0;
  EXPECT_EQ(::recv(silent.fd(), &byte, 1, MSG_DONTWAIT), 0);
}

}  // namespace
}  // namespace rlcpp::dist
