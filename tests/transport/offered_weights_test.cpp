// Weights that a trainer offers and an orchestrator takes: each offer once, in step with each other, and
// nothing of an earlier process.
#include "transport/offered_weights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "dist/ranks.h"
#include "support.h"
#include "transport/world.h"

namespace rlcpp::transport {
namespace {

using dist::Communicator;

// One process: its model, and what carries weights.
struct Process {
  explicit Process(Communicator& communicator, std::int64_t intermediate = 40) : policy(intermediate) {
    ctx = ops::make_context(communicator.device(), policy.pool);
    MemoryPlan plan;
    const auto regions = WeightBroadcast::plan(model::parameter_list(policy.config).size(), plan);
    arena = std::make_unique<Arena>(plan, ctx.device);
    broadcast = std::make_unique<WeightBroadcast>(ctx, communicator, 0, *arena, regions);
  }
  std::vector<NamedTensor> own() const { return named_weights(policy.config, policy.own); }

  Policy policy;
  ops::Context ctx;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<WeightBroadcast> broadcast;
};

class Offers : public ::testing::Test {
 protected:
  std::string offers() const { return dir_.path() + "/broadcasts"; }
  std::string takings() const { return dir_.path() + "/run_default/rollouts"; }
  OfferedWeightSender sender(const std::string& run = "run") {
    return OfferedWeightSender(durable::system_files(), offers(), takings(), run);
  }
  OfferedWeightReceiver receiver() {
    return OfferedWeightReceiver(durable::system_files(), offers(), takings());
  }
  // Rank 0 trains, rank 1 samples; both folders are made before they meet. Nobody may throw.
  void run(const std::function<void(Communicator&, OfferedWeightSender&)>& trains,
           const std::function<void(Communicator&, OfferedWeightReceiver&)>& samples) {
    dist::World world(dist::threads_world(2));
    const auto errors = dist::run_ranks(world, [&](Communicator& c) {
      if (c.rank() == 0) {
        OfferedWeightSender s = sender();
        c.barrier("both are here");
        trains(c, s);
      } else {
        OfferedWeightReceiver r = receiver();
        c.barrier("both are here");
        samples(c, r);
      }
    });
    for (const std::string& error : errors) EXPECT_EQ(error, "");
  }
  test::TemporaryDirectory dir_;
};

TEST_F(Offers, EachIsTakenOnceAndWhole) {
  const std::uint64_t seed = test::fresh_seed();
  constexpr std::int64_t kSteps = 6;
  std::atomic<std::int64_t> taken{-1};
  run(
      [&](Communicator& c, OfferedWeightSender& sender) {
        Process p(c);
        for (std::int64_t step = 0; step < kSteps; ++step) {
          p.policy.fill(seed + static_cast<std::uint64_t>(step));
          const auto out = sender.publish(*p.broadcast, p.own(), step, step / 2, short_wait(60'000));
          ASSERT_TRUE(out.has_value());
          EXPECT_EQ(out->step, step);
          EXPECT_EQ(out->replay_from, step / 2);
          EXPECT_GE(sender.waited(), 0);
          // Nobody goes on before the other has them.
          EXPECT_GE(taken.load(), step - 1);
        }
      },
      [&](Communicator& c, OfferedWeightReceiver& receiver) {
        Process p(c);
        receiver.carry_over(*p.broadcast);
        Policy sent;
        for (std::int64_t step = 0; step < kSteps; ++step) {
          const auto got = await_policy(receiver, step, step, p.policy.config, p.policy.spare, p.policy.live,
                                        nullptr, short_wait(60'000));
          ASSERT_TRUE(got.has_value());
          EXPECT_EQ(got->run, "run");
          EXPECT_EQ(got->step, step);
          EXPECT_EQ(got->replay_from, step / 2);
          sent.fill(seed + static_cast<std::uint64_t>(step));
          EXPECT_EQ(Policy::values(p.policy.live), Policy::values(sent.own));
          // What was taken is not there any more.
          const auto again = receiver.newest(0, step);
          EXPECT_FALSE(again.has_value()) << *again;
          taken = step;
        }
      });
}

TEST_F(Offers, AnOfferOfTheWrongStepIsLeftAlone) {
  run(
      [&](Communicator& c, OfferedWeightSender& sender) {
        Process p(c);
        p.policy.fill(1);
        EXPECT_TRUE(sender.publish(*p.broadcast, p.own(), 4, 5, short_wait(60'000)).has_value());
      },
      [&](Communicator& c, OfferedWeightReceiver& receiver) {
        Process p(c);
        receiver.carry_over(*p.broadcast);
        while (receiver.newest_run().empty()) std::this_thread::yield();
        EXPECT_EQ(receiver.newest(0, 3), std::nullopt);
        EXPECT_EQ(receiver.newest(5, 9), std::nullopt);
        EXPECT_EQ(receiver.newest(0, 9), 4);
        EXPECT_THROW(receiver.load(3, p.policy.config, p.policy.spare, p.policy.live, nullptr), Error);
        receiver.load(4, p.policy.config, p.policy.spare, p.policy.live, nullptr);
      });
}

TEST_F(Offers, WhatAnEarlierProcessLeftIsNoAnswer) {
  const auto left = [&] {
    durable::make_directories(durable::system_files(), offers());
    durable::make_directories(durable::system_files(), takings());
    durable::write_file(durable::system_files(), offers() + "/OFFER.json",
                        R"({"run": "run", "step": 0, "replay_from": 1, "number": 5, "finished": false})");
    durable::write_file(durable::system_files(), takings() + "/TAKING.json",
                        R"({"number": 5, "finished": true})");
  };
  left();
  ASSERT_TRUE(read_offer(offers()).has_value());
  ASSERT_TRUE(read_taking(takings())->finished);
  {
    const OfferedWeightSender s = sender();
    const OfferedWeightReceiver r = receiver();
    EXPECT_FALSE(read_offer(offers()).has_value());
    EXPECT_FALSE(s.taker_finished());
    EXPECT_FALSE(r.sender_finished());
  }
  // Both say that they are gone, however they end.
  EXPECT_TRUE(read_offer(offers())->finished);
  EXPECT_TRUE(read_taking(takings())->finished);
  // The answer to an offer that was another: the wait goes on.
  dist::World world(dist::threads_world(2, dist::short_deadlines()));
  const auto errors = dist::run_ranks(world, [&](Communicator& c) {
    if (c.rank() != 0) return;
    Process p(c);
    OfferedWeightSender s = sender();
    durable::write_file(durable::system_files(), takings() + "/TAKING.json",
                        R"({"number": 5, "finished": false})");
    p.policy.fill(1);
    s.publish(*p.broadcast, p.own(), 2, 3, short_wait(200));
  });
  EXPECT_NE(errors[0].find("the orchestrator"), std::string::npos) << errors[0];
  EXPECT_NE(errors[0].find("it to take the weights of step 2"), std::string::npos) << errors[0];
}

TEST_F(Offers, WhoStopsIsNotWaitedFor) {
  run(
      [&](Communicator& c, OfferedWeightSender& sender) {
        Process p(c);
        p.policy.fill(1);
        WaitOptions wait = short_wait(60'000);
        EXPECT_EQ(sender.publish(*p.broadcast, p.own(), 0, 1, wait), std::nullopt);
        EXPECT_TRUE(sender.taker_finished());
        wait.stop = [] { return true; };
        EXPECT_EQ(sender.publish(*p.broadcast, p.own(), 1, 1, wait), std::nullopt);
      },
      [&](Communicator&, OfferedWeightReceiver& receiver) { receiver.finish(); });
  run([](Communicator&, OfferedWeightSender& sender) { sender.finish(); },
      [](Communicator&, OfferedWeightReceiver& receiver) {
        while (!receiver.sender_finished()) std::this_thread::yield();
        EXPECT_EQ(receiver.newest(0, 100), std::nullopt);
      });
}

// The old policy goes on serving, and the offer is not looked at again.
TEST_F(Offers, AnotherModelIsRefusedOnce) {
  run(
      [&](Communicator& c, OfferedWeightSender& sender) {
        Process p(c, 48);
        p.policy.fill(1);
        try {
          sender.publish(*p.broadcast, p.own(), 0, 1, short_wait(60'000));
          ADD_FAILURE() << "it was taken";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ExitCode::kBadInput);
          EXPECT_NE(error.because().find("layers.0.gate_up"), std::string::npos) << error.render();
        }
        c.barrier("refused");
      },
      [&](Communicator& c, OfferedWeightReceiver& receiver) {
        Process p(c);
        receiver.carry_over(*p.broadcast);
        model::init_random(p.policy.config, p.policy.live, 9);
        const auto before = Policy::values(p.policy.live);
        std::vector<std::string> refusals;
        WaitOptions wait = short_wait(60'000);
        wait.refused = [&](const std::string& text) { refusals.push_back(text); };
        wait.stop = [&] { return !refusals.empty() && receiver.newest(0, 9) == std::nullopt; };
        EXPECT_EQ(await_policy(receiver, 0, 9, p.policy.config, p.policy.spare, p.policy.live, nullptr, wait),
                  std::nullopt);
        EXPECT_EQ(refusals.size(), 1U);
        EXPECT_EQ(Policy::values(p.policy.live), before);
        c.barrier("refused");
      });
}

TEST_F(Offers, DamagedFilesAreNone) {
  durable::make_directories(durable::system_files(), offers());
  durable::make_directories(durable::system_files(), takings());
  for (const char* text : {"", "{", "[]", "null", "{}", "3", R"({"number": "5", "finished": false})",
                           R"({"run": 3, "step": 0, "replay_from": 1, "number": 5, "finished": 0})",
                           R"({"number": 5})", "\xff\xfe"}) {
    durable::write_file(durable::system_files(), offers() + "/OFFER.json", text);
    durable::write_file(durable::system_files(), takings() + "/TAKING.json", text);
    EXPECT_FALSE(read_offer(offers()).has_value()) << text;
    EXPECT_FALSE(read_taking(takings()).has_value()) << text;
  }
}

}  // namespace
}  // namespace rlcpp::transport
