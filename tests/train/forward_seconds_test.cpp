// The forward that a benchmark times is the step's own, and leaves no trace in a run.
#include <algorithm>
#include <iterator>

#include "ops/back_ends.h"
#include "ops/calls.h"
#include "train/ranks.h"

namespace rlcpp::train {
namespace {

using TimedForward = test::OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, TimedForward, test::every_device(), test::device_name);

model::AdapterConfig some_adapters() {
  model::AdapterConfig adapters;
  adapters.rank = 4;
  adapters.targets.fill(true);
  return adapters;
}

bool same_call(const ops::Call& a, const ops::Call& b) {
  return a.name == b.name && a.shape == b.shape &&
         std::equal(a.operands.begin(), a.operands.end(), b.operands.begin(), b.operands.end(),
                    [](const Tensor& x, const Tensor& y) {
                      return x.empty() == y.empty() && (x.empty() || x.raw() == y.raw());
                    });
}

// The same operations on the same memory, one after the other. A frozen head makes its gradient in the visit
// that gives its log-probabilities, which is left out here.
TEST_P(TimedForward, MakesTheCallsOfAStep) {
  for (const bool lora : {false, true}) {
    SCOPED_TRACE(lora);
    ops::CallLog log;
    TinyRun run(plain_options(), test::fresh_seed(), 2, true, context().device, 2,
                lora ? some_adapters() : model::AdapterConfig{}, &log);
    Rng rng(test::fresh_seed());
    const std::vector<data::MicroBatch> rows = random_rows(rng, 1, /*rl=*/true);
    run.trainer->step(rows);
    log.on = true;
    EXPECT_GT(run.trainer->forward_seconds(rows), 0);
    std::vector<ops::Call> forward = std::move(log.calls);
    log.calls.clear();
    ASSERT_FALSE(run.trainer->step(rows).skipped);
    const std::vector<ops::Call> step = std::move(log.calls);
    log.on = false;
    ASSERT_FALSE(forward.empty());
    EXPECT_EQ(forward.back().name, "head_logprobs");
    if (lora) forward.pop_back();
    EXPECT_GT(forward.size(), 10U);
    EXPECT_LT(forward.size(), step.size() / 2);
    EXPECT_NE(std::search(step.begin(), step.end(), forward.begin(), forward.end(), same_call), step.end());
  }
}

TEST_P(TimedForward, ChangesNoBitOfARun) {
  const std::uint64_t seed = test::fresh_seed();
  for (const bool lora : {false, true}) {
    std::vector<std::vector<float>> ends;
    for (const bool timed : {false, true}) {
      TinyRun run(plain_options(), seed, 2, true, context().device, 2,
                  lora ? some_adapters() : model::AdapterConfig{});
      Rng rng(seed, 1);
      for (int step = 0; step < 3; ++step) {
        const std::vector<data::MicroBatch> rows = random_rows(rng, 3, /*rl=*/true);
        if (timed) {
          EXPECT_GT(run.trainer->forward_seconds(rows), 0);
        }
        run.trainer->step(rows);
        if (timed) {
          EXPECT_GT(run.trainer->forward_seconds(rows), 0);
        }
      }
      run.trainer->synchronize();
      ends.push_back(run.trained(&TrainedParameter::master));
    }
    EXPECT_EQ(ends[0], ends[1]) << (lora ? "adapters" : "all weights");
  }
}

// At level 3 the weights of a layer are gathered for it, as in a step.
TEST(TimedForwardOfRanks, ChangesNoBit) {
  dist::WorldOptions world;
  world.device = DeviceKind::kCpu;
  world.launch.devices = {0, 0};
  world.deadlines.collective = std::chrono::seconds(60);
  const std::uint64_t seed = test::fresh_seed();
  for (const int zero : {1, 2, 3}) {
    std::vector<std::vector<float>> ends;
    for (const bool timed : {false, true}) {
      TrainerOptions options = plain_options();
      options.sharding.zero = zero;
      Several several(world, options, 5, true, 3);
      Rng rng(seed);
      for (int step = 0; step < 2; ++step) {
        // Three rows are one too few: the last rank has an idle one.
        const std::vector<data::MicroBatch> rows = random_rows(rng, 3, /*rl=*/true);
        several.each([&](TinyRank& rank) {
          if (timed) {
            EXPECT_GT(rank.trainer->forward_seconds(rows), 0);
          }
          rank.trainer->step(rows);
        });
      }
      ends.push_back(several.collected(&TrainedParameter::master));
    }
    EXPECT_EQ(ends[0], ends[1]) << "level " << zero;
  }
}

}  // namespace
}  // namespace rlcpp::train
