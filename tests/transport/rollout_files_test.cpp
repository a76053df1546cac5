#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/wait.h"
#include "transport/world.h"

namespace rlcpp::transport {
namespace {

namespace fs = std::filesystem;

std::string refusal(const std::function<void()>& call, ExitCode code = ExitCode::kBadInput) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.render();
    return e.render();
  }
  return "accepted";
}

class RolloutFiles : public testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
  RolloutBatch send(std::int64_t step, const std::string& state = "{}") {
    const RolloutBatch batch = random_batch(rng_, step);
    sender_.send(std::span(&batch, 1), state);
    return batch;
  }
  std::string step(std::int64_t n) const { return root_ + "/step_" + std::to_string(n); }

  Rng rng_{test::fresh_seed()};
  test::TemporaryDirectory dir_;
  std::string root_ = dir_ / "rollouts";
  FileRolloutSender sender_{durable::system_files(), root_, "run1"};
  FileRolloutReceiver receiver_{root_, "run"};
};

TEST_F(RolloutFiles, TwoReadersGetTheirShares) {
  const std::vector<RolloutBatch> ranks = {random_batch(rng_, 4, 0, 2), random_batch(rng_, 4, 1, 2)};
  sender_.send(ranks, "{}");
  std::optional<RolloutBatch> got[2];
  std::vector<std::thread> readers;
  for (int rank = 0; rank < 2; ++rank) {
    readers.emplace_back(
        [&, rank] { got[rank] = FileRolloutReceiver(root_, "run", rank).receive(4, short_wait(5000)); });
  }
  for (std::thread& reader : readers) reader.join();
  for (std::size_t rank = 0; rank < 2; ++rank) {
    ASSERT_TRUE(got[rank].has_value());
    expect_equal(*got[rank], ranks[rank]);
  }
  EXPECT_NE(
      refusal([&] { FileRolloutReceiver(root_, "run", 2).receive(4, short_wait()); }).find("rank_2.bin"),
      std::string::npos);
}

TEST_F(RolloutFiles, AReaderWaitsForTheStepAndNobodySeesHalfOfIt) {
  std::optional<RolloutBatch> got;
  std::thread reader([&] { got = receiver_.receive(1, short_wait(20000)); });
  failpoint::arm("transport.send.before_commit=delay(100)");
  const RolloutBatch sent = send(1);
  reader.join();
  ASSERT_TRUE(got.has_value());
  expect_equal(*got, sent);
}

TEST_F(RolloutFiles, TheWaitHasAnOwnerADeadlineAndAWayOut) {
  const std::string text = refusal([&] { receiver_.receive(6, short_wait(30)); }, ExitCode::kFailed);
  for (const char* part : {"the orchestrator", "rollouts of step 6", "rollouts", "the limit is"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  WaitOptions stops = short_wait(60000);
  int polls = 0;
  stops.stop = [&] { return ++polls > 3; };
  EXPECT_FALSE(receiver_.receive(6, stops).has_value());
  std::vector<std::string> waits;
  stops.stop = [&] {
    waits = current_waits();
    return waits.size() > 0;
  };
  receiver_.receive(6, stops);
  ASSERT_EQ(waits.size(), 1U);
  EXPECT_NE(waits[0].find("for the orchestrator: rollouts of step 6"), std::string::npos) << waits[0];
}

TEST_F(RolloutFiles, WhatIsTornForeignOrGoneIsRefusedByName) {
  send(1);
  const std::string file = step(1) + "/rank_0.bin";
  const std::string good = durable::read_file(file);
  const auto with = [&](const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
    return refusal([&] { receiver_.receive(1, short_wait()); });
  };
  EXPECT_NE(with(good.substr(0, good.size() / 2)).find(file), std::string::npos);
  EXPECT_NE(with("hello").find(file), std::string::npos);
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 16);
  EXPECT_NE(with(flipped).find("checksum"), std::string::npos);
  EXPECT_NE(with(encode(random_batch(rng_, 2))).find("does not belong"), std::string::npos);
  EXPECT_NE(with(encode(random_batch(rng_, 1, 1, 2))).find("rank 1"), std::string::npos);
  EXPECT_EQ(with(good), "accepted");
  fs::remove(file);
  EXPECT_NE(refusal([&] { receiver_.receive(1, short_wait()); }).find("has no rank_0.bin"),
            std::string::npos);
  send(5);
  const std::string gone = refusal([&] { receiver_.receive(3, short_wait()); });
  EXPECT_NE(gone.find("step 3 are gone"), std::string::npos) << gone;
  EXPECT_NE(gone.find("--ckpt.resume-step 2"), std::string::npos) << gone;
}

// They stay where they are until their sender hears of the new run; the wait says so.
TEST_F(RolloutFiles, WhatAnotherRunLeftIsNotTaken) {
  RolloutBatch old = random_batch(rng_, 1);
  old.run = "before";
  sender_.send(std::span(&old, 1), "{}");
  std::vector<std::string> refused;
  WaitOptions wait = short_wait(60);
  wait.refused = [&](const std::string& text) { refused.push_back(text); };
  const std::string text = refusal([&] { receiver_.receive(1, wait); }, ExitCode::kFailed);
  EXPECT_NE(text.find("of another run"), std::string::npos) << text;
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_NE(refused[0].find("step_1/rank_0.bin"), std::string::npos) << refused[0];
  std::optional<RolloutBatch> got;
  std::thread reader([&] { got = receiver_.receive(1, short_wait(20000)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  sender_.set_aside_after(0);
  const RolloutBatch sent = send(1);
  reader.join();
  ASSERT_TRUE(got.has_value());
  expect_equal(*got, sent);
}

TEST_F(RolloutFiles, AKilledSenderLeavesNothingOrAll) {
  for (const auto& [point, there] : {std::pair{"transport.send.before_commit", false},
                                     {"durable.commit.before_rename", false},
                                     {"durable.write.half", false},
                                     {"durable.commit.after_rename", true},
                                     {"transport.send.after_commit", true}}) {
    fs::remove_all(root_);
    send(1, "{\"n\": 1}");
    const pid_t pid = fork();
    if (pid == 0) {
      failpoint::arm(std::string(point) + "=kill");
      send(2, "{\"n\": 2}");
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << point;
    EXPECT_EQ(fs::exists(step(2)), there) << point;
    std::vector<std::string> skipped;
    const auto state = sender_.newest_state(std::nullopt, &skipped);
    ASSERT_TRUE(state.has_value()) << point;
    EXPECT_EQ(state->step, there ? 2 : 1) << point;
    EXPECT_EQ(state->text, there ? "{\"n\": 2}" : "{\"n\": 1}") << point;
    EXPECT_TRUE(skipped.empty());
    if (!there) send(2);  // the next process makes it anew
    EXPECT_TRUE(receiver_.receive(2, short_wait()).has_value()) << point;
  }
}

TEST_F(RolloutFiles, StatesAreFoundSetAsideAndPruned) {
  EXPECT_FALSE(sender_.newest_state(std::nullopt, nullptr).has_value());
  for (int n = 1; n <= 9; ++n) send(n, std::to_string(n));
  std::ofstream(step(9) + "/state.json") << "8";
  std::vector<std::string> skipped;
  EXPECT_EQ(sender_.newest_state(std::nullopt, &skipped)->step, 8);
  ASSERT_EQ(skipped.size(), 1U);
  EXPECT_NE(skipped[0].find("state.json"), std::string::npos) << skipped[0];
  EXPECT_EQ(sender_.newest_state(4, nullptr)->text, "4");
  EXPECT_NE(refusal([&] { sender_.newest_state(9, nullptr); }).find("state.json"), std::string::npos);
  EXPECT_NE(refusal([&] { sender_.newest_state(12, nullptr); }).find("1, 2, 3"), std::string::npos);
  EXPECT_EQ(sender_.set_aside_after(7), 2);
  EXPECT_TRUE(fs::exists(root_ + "/before-run1.step_8"));
  sender_.prune_before(6, [](std::int64_t n) { return n % 2 == 0; });
  EXPECT_EQ(steps_in(root_), (std::vector<std::int64_t>{2, 4, 6, 7}));
}

}  // namespace
}  // namespace rlcpp::transport
