// Processes that were started differently do not begin, and all of them say why; runs with different ids do
// not meet; a place where nobody can meet is refused before anything is announced.
#include "dist/meeting.h"

#include <sys/stat.h>

#include "dist/address.h"
#include "dist/connection.h"
#include "processes.h"

namespace rlcpp::dist {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string text_of_difference(const std::vector<Terms>& terms) {
  std::vector<Party> parties;
  for (const Terms& t : terms) parties.push_back({static_cast<int>(parties.size()), "node", t});
  const auto fault = difference(parties);
  if (!fault) return "";
  EXPECT_EQ(fault->code, ExitCode::kBadInput);
  return fault->what + "|" + fault->because;
}

TEST(Difference, NamesTheFirstKeyWithAllValuesAndTheOthersByName) {
  const Terms a = {{"command", "sft"}, {"optim.lr", "0.1"}, {"seed", "1"}, {"max_steps", "5"}};
  EXPECT_EQ(text_of_difference({a, a, a}), "");
  Terms b = a;
  b[1].value = "0.2";
  const std::string head = "the processes of this run were started with different values: ";
  EXPECT_EQ(text_of_difference({a, b}),
            head + "optim.lr is 0.1 in process 0 (node) and 0.2 in process 1 (node)|");
  EXPECT_EQ(text_of_difference({b, a, a}),
            head + "optim.lr is 0.2 in process 0 (node) and 0.1 in processes 1 and 2|");
  b[3].value = "6";
  EXPECT_EQ(text_of_difference({a, b}),
            head + "optim.lr is 0.1 in process 0 (node) and 0.2 in process 1 (node)|max_steps differs too");
  b[2].value = "None";
  EXPECT_TRUE(text_of_difference({a, b}).ends_with("|seed, max_steps differ too"));
  Terms c = a;
  c[1].value = "0.3";
  EXPECT_EQ(text_of_difference({a, b, c}).substr(0, head.size() + 79),
            head + "optim.lr is 0.1 in process 0 (node), 0.2 in process 1 (node) and 0.3 in process");
  std::vector<Terms> many(20, a);
  many[7] = b;
  EXPECT_TRUE(contains(text_of_difference(many),
                       "optim.lr is 0.1 in processes 0, 1, 2, 3, 4 and 14 more and 0.2 in process 7 (node)"));
}

TEST(Difference, ASectionThatIsAbsentIsOneDifference) {
  const Terms without = {{"model.name", "m"}, {"model.lora", "None"}};
  const Terms with = {{"model.name", "m"}, {"model.lora.rank", "16"}, {"model.lora.alpha", "32"}};
  EXPECT_TRUE(text_of_difference({without, with})
                  .ends_with("model.lora is None in process 0 (node) and set in process 1 (node)|"));
  EXPECT_TRUE(text_of_difference({with, without})
                  .ends_with("model.lora is set in process 0 (node) and None in process 1 (node)|"));
  // A key that one has not at all, as between lists of another length.
  EXPECT_TRUE(text_of_difference({{{"a.0.x", "1"}}, {{"a.0.x", "1"}, {"a.1.x", "2"}}})
                  .ends_with("a.1.x is absent in process 0 (node) and 2 in process 1 (node)|"));
}

std::string free_port() {
  const Socket free = listen_on("127.0.0.1", 0);
  return "127.0.0.1:" + std::to_string(port_of(free));
}

class Meetings : public ::testing::Test {
 protected:
  using Words = std::vector<std::string>;
  // Process `number` of `count` as torchrun would start it.
  std::unique_ptr<Process> start(int number, int count, const std::string& address, const Words& more) {
    Words command = {rank_program(), "none", "--carrier", "none", "--limit", "20000", "--faulty", "9"};
    command.insert(command.end(), {"--address", address});
    command.insert(command.end(), more.begin(), more.end());
    return std::make_unique<Process>(
        command, Process::Variables{{"RANK", std::to_string(number)}, {"WORLD_SIZE", std::to_string(count)}},
        folder_ / ("log" + std::to_string(++logs_)));
  }
  std::string file() { return "file:" + (folder_ / "meeting"); }
  test::TemporaryDirectory folder_;
  int logs_ = 0;
};

TEST_F(Meetings, DifferentValuesAreRefusedByAllProcesses) {
  for (const std::string& address : {file(), free_port()}) {
    for (const int odd : {0, 2}) {
      SCOPED_TRACE(address + " odd " + std::to_string(odd));
      std::vector<std::unique_ptr<Process>> all;
      for (int p = 0; p < 3; ++p) {
        all.push_back(start(p, 3, address,
                            {"--term", "command=sft", "--term", p == odd ? "optim.lr=0.02" : "optim.lr=0.01",
                             "--term", "seed=7"}));
      }
      for (const auto& process : all) {
        EXPECT_EQ(process->wait(), 2);
        const std::string text = process->text();
        EXPECT_TRUE(contains(
            text, "error: the processes of this run were started with different values: optim.lr is"))
            << text;
        EXPECT_TRUE(contains(text, "0.02 in process " + std::to_string(odd) + " (")) << text;
        EXPECT_TRUE(contains(text, odd == 0 ? "0.01 in processes 1 and 2" : "0.01 in processes 0 and 1"))
            << text;
        EXPECT_FALSE(contains(text, "seed")) << text;
        EXPECT_LT(process->seconds(), 10.0);
      }
      EXPECT_NE(::access((folder_ / "meeting").c_str(), F_OK), 0)
          << "the file of a meeting that failed is left";
    }
  }
}

TEST_F(Meetings, EqualValuesMeetAndTheFileIsGoneBeforeTheRunEnds) {
  std::vector<std::unique_ptr<Process>> all;
  for (int p = 0; p < 3; ++p)
    all.push_back(start(p, 3, file(), {"--term", "optim.lr=0.01", "--run-id", "x"}));
  for (const auto& process : all) EXPECT_EQ(process->wait(), 0) << process->text();
  EXPECT_TRUE(contains(all[0]->text(), "info: process 0 of 3 waits for the others at " + file()));
  EXPECT_FALSE(contains(all[1]->text(), "waits for"));
  EXPECT_NE(::access((folder_ / "meeting").c_str(), F_OK), 0);
}

// Process 0 stays a while for those that come after the verdict.
TEST_F(Meetings, AProcessThatComesLateIsToldToo) {
  const std::string address = free_port();
  const auto zero = start(0, 3, address, {"--term", "seed=1"}),
             one = start(1, 3, address, {"--term", "seed=2"});
  EXPECT_EQ(one->wait(std::chrono::seconds(10)), 2) << one->text();
  const auto two = start(2, 3, address, {"--term", "seed=1"});
  EXPECT_EQ(two->wait(std::chrono::seconds(10)), 2) << two->text();
  EXPECT_EQ(zero->wait(std::chrono::seconds(15)), 2) << zero->text();
  for (const auto* process : {&zero, &one, &two})
    EXPECT_TRUE(contains((*process)->text(), "seed is 1 in process 0 (")) << (*process)->text();
}

TEST_F(Meetings, AWrongCountIsSaidByAllProcesses) {
  const std::string address = file();
  const auto zero = start(0, 3, address, {}), one = start(1, 3, address, {}), two = start(2, 4, address, {});
  for (const auto* process : {&zero, &one, &two}) {
    EXPECT_EQ((*process)->wait(std::chrono::seconds(20)), 2);
    EXPECT_TRUE(
        contains((*process)->text(), "process 2 counts 4 processes of 1 ranks, process 0 counts 3 of 1"))
        << (*process)->text();
  }
}

TEST_F(Meetings, RunsWithDifferentIdsDoNotMeet) {
  for (const std::string& address : {file(), free_port()}) {
    SCOPED_TRACE(address);
    const auto zero = start(0, 2, address, {"--run-id", "a"});
    const auto other = start(1, 2, address, {"--run-id", "b"}), nameless = start(1, 2, address, {});
    EXPECT_EQ(other->wait(std::chrono::seconds(10)), 2);
    EXPECT_TRUE(
        contains(other->text(), "run \"a\" meets at " + address + ", and this process is of run \"b\""))
        << other->text();
    EXPECT_EQ(nameless->wait(std::chrono::seconds(10)), 2);
    EXPECT_TRUE(contains(nameless->text(), "and this process is of a run without dist.run_id"))
        << nameless->text();
    EXPECT_EQ(zero->wait(std::chrono::seconds(0)), -1) << zero->text();
    const auto one = start(1, 2, address, {"--run-id", "a"});
    EXPECT_EQ(one->wait(), 0) << one->text();
    EXPECT_EQ(zero->wait(), 0) << zero->text();
  }
}

TEST_F(Meetings, ASecondProcessZeroDoesNotTakeTheFileFromTheFirst) {
  const auto zero = start(0, 2, file(), {"--run-id", "a"});
  for (int i = 0; i < 1000 && ::access((folder_ / "meeting").c_str(), F_OK) != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // from the file to its lock
  const auto second = start(0, 2, file(), {"--run-id", "b"});
  EXPECT_EQ(second->wait(std::chrono::seconds(10)), 2);
  EXPECT_TRUE(contains(second->text(), "the process 0 of another run waits at " + file() + " already"))
      << second->text();
  const auto one = start(1, 2, file(), {"--run-id", "a"});
  EXPECT_EQ(one->wait(), 0) << one->text();
  EXPECT_EQ(zero->wait(), 0) << zero->text();
}

TEST_F(Meetings, TheFileOfAKilledRunIsReplaced) {
  const auto killed = start(0, 2, file(), {});
  for (int i = 0; i < 1000 && ::access((folder_ / "meeting").c_str(), F_OK) != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  killed->signal(SIGKILL);
  EXPECT_EQ(killed->wait(), 128 + SIGKILL);
  ASSERT_EQ(::access((folder_ / "meeting").c_str(), F_OK), 0);
  // One comes before its process 0 and finds what is left: it waits on.
  const auto one = start(1, 2, file(), {});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto zero = start(0, 2, file(), {});
  EXPECT_EQ(one->wait(), 0) << one->text();
  EXPECT_EQ(zero->wait(), 0) << zero->text();
}

TEST_F(Meetings, APlaceWhereNobodyCanMeetIsRefusedByEachBeforeItAnnouncesAnything) {
  for (const int number : {0, 1}) {
    for (const auto& [address, sentence] :
         {std::pair<std::string, std::string>{"nonsense", "has not the form HOST:PORT"},
          {"127.0.0.1:65536", "has not the form HOST:PORT"},
          {"file:" + (folder_ / "absent/meeting"), "absent of the file where the ranks meet is not there"}}) {
      const auto process = start(number, 2, address, {});
      EXPECT_EQ(process->wait(std::chrono::seconds(10)), 2);
      EXPECT_TRUE(process->text().starts_with("error: ") && contains(process->text(), sentence))
          << process->text();
    }
  }
  // Others may write there: what is read is believed, so neither goes there.
  const std::string open = folder_ / "open";
  ASSERT_EQ(::mkdir(open.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(open.c_str(), 0777), 0);
  for (const int number : {0, 1}) {
    const auto process = start(number, 2, "file:" + open + "/meeting", {});
    EXPECT_EQ(process->wait(std::chrono::seconds(10)), 3);
    EXPECT_TRUE(contains(process->text(), "that nobody else may write")) << process->text();
  }
}

}  // namespace
}  // namespace rlcpp::dist
