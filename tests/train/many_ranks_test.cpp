// Four and eight ranks: where the arithmetic is the same, so are the bits; and a run whose ranks change at
// every start.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "train/ranks.h"

namespace rlcpp::train {
namespace {

constexpr std::int64_t kLayers = 3;
using Floats = std::vector<float>;

dist::WorldOptions world_of(int ranks, bool gpu) {
  dist::WorldOptions options;
  options.device = gpu ? DeviceKind::kCuda : DeviceKind::kCpu;
  options.launch.devices.clear();
  for (int i = 0; i < ranks; ++i) options.launch.devices.push_back(gpu ? i : 0);
  options.deadlines.collective = std::chrono::seconds(60);
  return options;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// |a - b| / |b|.
double distance(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

TrainerOptions options_of(int zero) {
  TrainerOptions o = plain_options();
  o.sharding.zero = zero;
  o.optim.eps = 1e-3;  // a sum in another order turns no update of a tiny gradient
  return o;
}

struct State {
  Floats weights, first, second;
  explicit State(const Several& ranks)
      : weights(ranks.collected(&TrainedParameter::master)),
        first(ranks.collected(&TrainedParameter::first)),
        second(ranks.collected(&TrainedParameter::second)) {}
};

class ManyRanks : public ::testing::TestWithParam<bool> {
 protected:
  static bool enough(int ranks) {
    std::string why;
    return !GetParam() || static_cast<int>(cuda::gpus(&why).size()) >= ranks;
  }
};
INSTANTIATE_TEST_SUITE_P(, ManyRanks, ::testing::Values(false, true),
                         [](const auto& each) { return each.param ? "Cuda" : "Cpu"; });

// With a row a rank each level adds the same numbers in the same order, that of the ranks.
TEST_P(ManyRanks, LevelsGiveTheSameBitsWhereEachRankHasOneRow) {
  for (const int ranks : {4, 8}) {
    if (!enough(ranks)) GTEST_SKIP() << "needs " << ranks << " GPUs";
    for (const bool rl : {false, true}) {
      Rng rng(test::fresh_seed());
      std::vector<std::vector<data::MicroBatch>> steps;
      for (int s = 0; s < 3; ++s) steps.push_back(random_rows(rng, ranks, rl));
      std::vector<State> states;
      for (const int zero : {1, 2, 3}) {
        Several several(world_of(ranks, GetParam()), options_of(zero), 5, true, kLayers);
        several.each([&](TinyRank& rank) {
          for (const auto& rows : steps) rank.trainer->step(rows);
        });
        states.emplace_back(several);
      }
      for (const std::size_t other : {1U, 2U}) {
        EXPECT_TRUE(same_bits(states[other].weights, states[0].weights)) << ranks << " " << other + 1;
        EXPECT_TRUE(same_bits(states[other].first, states[0].first)) << ranks << " " << other + 1;
        EXPECT_TRUE(same_bits(states[other].second, states[0].second)) << ranks << " " << other + 1;
      }
    }
  }
}

// A checkpoint that passes through other numbers of ranks untouched is the same state, to the bit.
TEST_P(ManyRanks, PassingThroughRanksChangesNoBit) {
  if (!enough(8)) GTEST_SKIP() << "needs 8 GPUs";
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 4);
  const test::TemporaryDirectory dir;
  CheckpointContent content;
  content.progress.step = 1;
  std::string from = dir / "made";
  std::vector<State> states;
  {
    Several three(world_of(3, GetParam()), options_of(1), 7, true, kLayers);
    three.each([&](TinyRank& rank) { rank.trainer->step(rows); });
    save_checkpoint(durable::system_files(), from, "run", three.group(), content);
    states.emplace_back(three);
  }
  for (const auto& [ranks, zero] : {std::pair(5, 2), {8, 3}, {4, 1}, {3, 2}}) {
    Several several(world_of(ranks, GetParam()), options_of(zero), 90, true, kLayers);
    load_checkpoint(step_directory(from, 1), several.group());
    from = dir / ("of" + std::to_string(ranks) + "at" + std::to_string(zero));
    save_checkpoint(durable::system_files(), from, "run", several.group(), content);
    const State state(several);
    EXPECT_TRUE(same_bits(state.weights, states[0].weights)) << ranks;
    EXPECT_TRUE(same_bits(state.first, states[0].first)) << ranks;
    EXPECT_TRUE(same_bits(state.second, states[0].second)) << ranks;
  }
}

// Two steps of three ranks, two of five, two of eight, each at a level of its own: the weights of one rank
// that was never stopped, and the same bits when it is done again.
TEST_P(ManyRanks, ThreeThenFiveThenEight) {
  if (!enough(8)) GTEST_SKIP() << "needs 8 GPUs";
  const Device device{GetParam() ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  Rng rng(test::fresh_seed());
  std::vector<std::vector<data::MicroBatch>> steps;
  for (int s = 0; s < 6; ++s) steps.push_back(random_rows(rng, 4 + s));
  TinyRun one(options_of(1), 6, 1, true, device, kLayers);
  for (const auto& rows : steps) one.trainer->step(rows);
  const double bound = GetParam() ? 2e-3 : 2e-5;
  const test::TemporaryDirectory dir;
  for (const std::vector<int>& levels : {std::vector<int>{1, 2, 3}, {3, 1, 2}, {2, 3, 1}}) {
    std::vector<State> ends;
    for (const char* turn : {"first", "second"}) {
      const std::string root = dir / (turn + std::to_string(levels[0]));
      const std::vector<int> counts = {3, 5, 8};
      for (std::size_t i = 0; i < counts.size(); ++i) {
        // Another seed each time: what is not loaded would show.
        Several several(world_of(counts[i], GetParam()), options_of(levels[i]), 6 + i, true, kLayers);
        if (i > 0) load_checkpoint(step_directory(root, static_cast<std::int64_t>(2 * i)), several.group());
        several.each([&](TinyRank& rank) {
          EXPECT_EQ(rank.trainer->steps_done(), static_cast<std::int64_t>(2 * i));
          rank.trainer->step(steps[2 * i]);
          rank.trainer->step(steps[2 * i + 1]);
        });
        CheckpointContent content;
        content.progress.step = static_cast<std::int64_t>(2 * i + 2);
        save_checkpoint(durable::system_files(), root, "run", several.group(), content);
        if (i + 1 == counts.size()) ends.emplace_back(several);
      }
    }
    EXPECT_LE(distance(ends[0].weights, one.all_weights()), bound) << levels[0];
    EXPECT_LE(distance(ends[0].first, one.first_moments()), 10 * bound) << levels[0];
    EXPECT_LE(distance(ends[0].second, one.second_moments()), 10 * bound) << levels[0];
    EXPECT_TRUE(same_bits(ends[1].weights, ends[0].weights)) << levels[0];
    EXPECT_TRUE(same_bits(ends[1].first, ends[0].first)) << levels[0];
    EXPECT_TRUE(same_bits(ends[1].second, ends[0].second)) << levels[0];
  }
}

}  // namespace
}  // namespace rlcpp::train
