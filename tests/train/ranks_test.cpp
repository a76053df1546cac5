// Several ranks against one: the same gradient, the same weights afterwards, at every level of ZeRO.
#include "train/ranks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <tuple>

#include "train/checkpoint.h"
#include "train/exchange.h"
#include "train/rank_share.h"
#include "train/shards.h"

namespace rlcpp::train {
namespace {

struct Case {
  bool gpu = false;
  int ranks = 2, zero = 1;
  model::Recompute recompute = model::Recompute::kNone;
  bool tied = true;
};

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::string(c.gpu ? "Cuda" : "Cpu") + std::to_string(c.ranks) + "Zero" + std::to_string(c.zero) +
         (c.recompute == model::Recompute::kFull ? "Recompute" : "") + (c.tied ? "" : "Untied");
}

class Ranks : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr std::int64_t kLayers = 3;

  dist::WorldOptions world() const {
    dist::WorldOptions options;
    options.device = GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu;
    options.launch.devices.clear();
    for (int i = 0; i < GetParam().ranks; ++i) options.launch.devices.push_back(GetParam().gpu ? i : 0);
    options.deadlines.collective = std::chrono::seconds(60);
    return options;
  }
  bool skipped() const {
    std::string why;
    return GetParam().gpu && static_cast<int>(cuda::gpus(&why).size()) < GetParam().ranks;
  }
  TrainerOptions options() const {
    TrainerOptions o = plain_options();
    o.sharding.zero = GetParam().zero;
    o.recompute = GetParam().recompute;
    return o;
  }

  RanksResult train(const TrainerOptions& o, std::uint64_t seed,
                    const std::vector<std::vector<data::MicroBatch>>& steps,
                    const model::AdapterConfig& adapters = {}) const {
    dist::World world(this->world());
    RanksResult result;
    std::vector<std::vector<float>> weights, gradients, first, second;
    std::vector<std::vector<StepResult>> all(static_cast<std::size_t>(world.local_ranks()));
    std::vector<std::string> errors(all.size());
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int local = 0; local < world.local_ranks(); ++local) {
      threads.emplace_back([&, local] {
        const auto index = static_cast<std::size_t>(local);
        try {
          const auto communicator = world.join(local);
          TinyRank rank(o, seed, *communicator, GetParam().tied, kLayers, adapters);
          for (const auto& rows : steps) all[index].push_back(rank.trainer->step(rows));
          const double loss = rank.trainer->evaluate(steps.front());
          rank.trainer->synchronize();
          const std::lock_guard lock(mutex);
          result.evaluated.push_back(loss);
          rank.collect(&TrainedParameter::master, weights);
          rank.collect(&TrainedParameter::gradient, gradients);
          rank.collect(&TrainedParameter::first, first);
          rank.collect(&TrainedParameter::second, second);
          result.planned_bytes = rank.planned_bytes;
        } catch (const Error& error) {
          errors[index] = error.render();
          world.fail({error.what(), "", ""});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::string& error : errors) EXPECT_EQ(error, "");
    for (const auto& other : all) {
      EXPECT_EQ(other.size(), all.front().size());
      for (std::size_t s = 0; s < std::min(other.size(), all.front().size()); ++s) {
        EXPECT_EQ(other[s].loss, all.front()[s].loss);
        EXPECT_EQ(other[s].grad_norm, all.front()[s].grad_norm);
        EXPECT_EQ(other[s].metrics.items(), all.front()[s].metrics.items());
      }
    }
    result.steps = all.front();
    result.weights = flat(weights);
    result.gradients = flat(gradients);
    result.first = flat(first);
    result.second = flat(second);
    return result;
  }
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) {
      ADD_FAILURE() << a.size() << " values against " << b.size();
      return INFINITY;
    }
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      difference += d * d;
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    // Masks can reject a short row whole.
    return norm == 0 ? (difference == 0 ? 0 : INFINITY) : std::sqrt(difference / norm);
  }
};

// Five rows over two, three, four or eight ranks do not come out even; four ranks of one row have ranks with
// nothing.
TEST_P(Ranks, TheGradientIsThatOfOneRank) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  const Device device{GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  for (const bool rl : {false, true}) {
    for (const int rows : {5, 1}) {
      Rng rng(test::fresh_seed());
      const std::vector<std::vector<data::MicroBatch>> steps = {random_rows(rng, rows, rl)};
      TinyRun one(options(), 3, 1, GetParam().tied, device, kLayers);
      const StepResult expected = one.trainer->step(steps[0]);
      const RanksResult result = train(options(), 3, steps);
      ASSERT_EQ(result.steps.size(), 1U);
      // The same sums in another order: f32 has 24 bits; sums of bf16 products on a GPU are f32 too.
      EXPECT_NEAR(result.steps[0].loss, expected.loss, 1e-12 * (1 + std::abs(expected.loss)));
      EXPECT_NEAR(result.steps[0].grad_norm, expected.grad_norm, 1e-5 * expected.grad_norm);
      EXPECT_LE(distance(result.gradients, one.gradients()), 1e-5);
      EXPECT_EQ(result.steps[0].loss_tokens, expected.loss_tokens);
      for (const auto& wanted : expected.metrics.items()) {
        const auto& items = result.steps[0].metrics.items();
        const auto found = std::find_if(items.begin(), items.end(),
                                        [&](const auto& item) { return item.first == wanted.first; });
        ASSERT_NE(found, items.end()) << wanted.first;
        EXPECT_NEAR(found->second, wanted.second, 1e-5 * std::abs(wanted.second) + 1e-9) << wanted.first;
      }
    }
  }
}

TEST_P(Ranks, StepsEndWithTheWeightsOfOneRankAndTheSameBitsTwice) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  const Device device{GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  Rng rng(test::fresh_seed());
  std::vector<std::vector<data::MicroBatch>> steps;
  for (int s = 0; s < 3; ++s) steps.push_back(random_rows(rng, 2 + 3 * s));
  TrainerOptions o = options();
  o.optim.eps =
      1e-3;  // so that a sum in another order does not turn the sign of an update of a tiny gradient
  TinyRun one(o, 4, 1, GetParam().tied, device, kLayers);
  for (const auto& rows : steps) one.trainer->step(rows);
  const RanksResult first = train(o, 4, steps), second = train(o, 4, steps);
  const double bound = GetParam().gpu ? 2e-3 : 2e-5;
  EXPECT_LE(distance(first.weights, one.all_weights()), bound);
  EXPECT_LE(distance(first.first, one.first_moments()), 10 * bound);
  EXPECT_LE(distance(first.second, one.second_moments()), 10 * bound);
  for (const double loss : first.evaluated) {
    EXPECT_EQ(loss, first.evaluated.front());
    EXPECT_NEAR(loss, one.trainer->evaluate(steps.front()), GetParam().gpu ? 1e-2 : 1e-5);
  }
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  EXPECT_TRUE(same(first.weights, second.weights));
  EXPECT_TRUE(same(first.first, second.first));
  EXPECT_TRUE(same(first.second, second.second));
}

// What docs/numerics.md says of levels: 2 and 3 make the same sums in the same order, 1 makes them too where
// a rank has one micro-batch, and else adds its own before those of the others.
TEST_P(Ranks, LevelsThatSumInOneOrderGiveTheSameBits) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  if (GetParam().zero != 1) GTEST_SKIP() << "once for all levels";
  Rng rng(test::fresh_seed());
  const auto bits = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  for (const bool one_each : {true, false}) {
    std::vector<std::vector<data::MicroBatch>> steps;
    for (int s = 0; s < 3; ++s)
      steps.push_back(random_rows(rng, one_each ? GetParam().ranks : 2 * GetParam().ranks + s));
    std::vector<RanksResult> results;
    for (const int zero : {1, 2, 3}) {
      TrainerOptions o = options();
      o.optim.eps = 1e-3;
      o.sharding.zero = zero;
      results.push_back(train(o, 4, steps));
    }
    EXPECT_TRUE(bits(results[1].weights, results[2].weights)) << one_each;
    EXPECT_TRUE(bits(results[1].first, results[2].first)) << one_each;
    EXPECT_EQ(results[1].steps.back().grad_norm, results[2].steps.back().grad_norm) << one_each;
    if (one_each) {
      EXPECT_TRUE(bits(results[0].weights, results[1].weights));
      EXPECT_TRUE(bits(results[0].first, results[1].first));
      EXPECT_EQ(results[0].steps.back().grad_norm, results[1].steps.back().grad_norm);
    } else {
      const double bound = GetParam().gpu ? 2e-3 : 2e-5;
      EXPECT_LE(distance(results[0].weights, results[1].weights), bound);
      EXPECT_LE(distance(results[0].first, results[1].first), 10 * bound);
    }
  }
}

// Momentum in parts, and whole matrices from parts.
TEST_P(Ranks, OtherOptimizersEndWithTheWeightsOfOneRank) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  if (GetParam().recompute != model::Recompute::kNone) GTEST_SKIP() << "as the case without";
  const Device device{GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  Rng rng(test::fresh_seed());
  std::vector<std::vector<data::MicroBatch>> steps;
  for (int s = 0; s < 3; ++s) steps.push_back(random_rows(rng, 3));
  for (const char* type : {"sgd", "muon"}) {
    TrainerOptions o = options();
    o.optim.type = type;
    o.optim.eps = 1e-3;
    o.optim.weight_decay = 0.1;
    TinyRun one(o, 4, 1, GetParam().tied, device, kLayers);
    for (const auto& rows : steps) one.trainer->step(rows);
    const RanksResult first = train(o, 4, steps), second = train(o, 4, steps);
    const double bound = GetParam().gpu ? 1e-2 : 2e-4;
    EXPECT_LE(distance(first.weights, one.all_weights()), bound) << type;
    EXPECT_LE(distance(first.first, one.first_moments()), 10 * bound) << type;
    EXPECT_EQ(std::memcmp(first.weights.data(), second.weights.data(), first.weights.size() * sizeof(float)),
              0);
  }
}

TEST_P(Ranks, AdaptersOfAFrozenModelAreTheSameOnAll) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  if (GetParam().recompute != model::Recompute::kNone || !GetParam().tied)
    GTEST_SKIP() << "as the case without";
  const Device device{GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  model::AdapterConfig adapters;
  adapters.rank = 4;
  adapters.alpha = 8;
  adapters.targets.fill(true);
  Rng rng(test::fresh_seed());
  std::vector<std::vector<data::MicroBatch>> steps;
  for (int s = 0; s < 2; ++s) steps.push_back(random_rows(rng, 3, true));
  TrainerOptions o = options();
  o.optim.eps = 1e-3;
  TinyRun one(o, 4, 1, true, device, kLayers, adapters);
  for (const auto& rows : steps) one.trainer->step(rows);
  const RanksResult result = train(o, 4, steps, adapters);
  EXPECT_LE(distance(result.gradients, one.gradients()), GetParam().gpu ? 2e-2 : 1e-4);
  EXPECT_LE(distance(result.weights, one.trained(&TrainedParameter::master)), GetParam().gpu ? 2e-3 : 2e-5);
}

// A checkpoint does not know ranks: written by some, continued by others at another level, it is the same
// training.
TEST_P(Ranks, ACheckpointIsContinuedByAnyNumberOfRanks) {
  if (skipped()) GTEST_SKIP() << "needs " << GetParam().ranks << " GPUs";
  const Device device{GetParam().gpu ? DeviceKind::kCuda : DeviceKind::kCpu, 0};
  Rng rng(test::fresh_seed());
  std::vector<std::vector<data::MicroBatch>> steps;
  for (int s = 0; s < 3; ++s) steps.push_back(random_rows(rng, 4));
  TrainerOptions o = options();
  o.optim.eps = 1e-3;
  const test::TemporaryDirectory dir;
  const std::string root = dir / "checkpoints";
  CheckpointContent content;

  // Two steps of several ranks, saved; then all of it in one rank.
  std::vector<float> weights, first;
  {
    Several several(world(), o, 6, GetParam().tied, kLayers);
    several.each([&](TinyRank& rank) {
      rank.trainer->step(steps[0]);
      rank.trainer->step(steps[1]);
    });
    content.progress.step = 2;
    save_checkpoint(durable::system_files(), root, "run", several.group(), content);
    several.each([&](TinyRank& rank) { rank.trainer->step(steps[2]); });
    weights = several.collected(&TrainedParameter::master);
    first = several.collected(&TrainedParameter::first);
  }
  TinyRun one(o, 99, 1, GetParam().tied, device, kLayers);
  load_checkpoint(step_directory(root, 2), *one.trainer);
  EXPECT_EQ(one.trainer->steps_done(), 2);
  one.trainer->step(steps[2]);
  EXPECT_LE(distance(one.all_weights(), weights), GetParam().gpu ? 1e-3 : 1e-5);
  EXPECT_LE(distance(one.first_moments(), first), GetParam().gpu ? 1e-2 : 1e-4);

  // And from one rank to several, at every level: the same bits as the ranks that wrote, if level and number
  // are theirs.
  for (const int zero : {1, 2, 3}) {
    TrainerOptions other = o;
    other.sharding.zero = zero;
    Several several(world(), other, 98, GetParam().tied, kLayers);
    load_checkpoint(step_directory(root, 2), several.group());
    several.each([&](TinyRank& rank) { rank.trainer->step(steps[2]); });
    const std::vector<float> again = several.collected(&TrainedParameter::master);
    EXPECT_LE(distance(again, weights), GetParam().gpu ? 1e-3 : 1e-5);
    if (zero == GetParam().zero) {
      EXPECT_EQ(std::memcmp(again.data(), weights.data(), again.size() * sizeof(float)), 0);
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const int zero : {1, 2, 3}) {
    for (const int ranks : {2, 3, 4, 8}) out.push_back({false, ranks, zero});
    out.push_back({false, 2, zero, model::Recompute::kFull});
    out.push_back({false, 3, zero, model::Recompute::kNone, false});
    for (const int ranks : {2, 4, 8}) out.push_back({true, ranks, zero});
    out.push_back({true, 2, zero, model::Recompute::kFull, false});
  }
  return out;
}
INSTANTIATE_TEST_SUITE_P(Of, Ranks, ::testing::ValuesIn(cases()), name_of_case);

TEST(RanksPlan, EachLevelHoldsLessOfEachRank) {
  ThreadPool pool(1);
  const ops::Context ctx = ops::planning_context({DeviceKind::kCuda, 0}, pool);
  model::ModelConfig config = tiny_config(true, 12);
  config.hidden_size = 256;
  config.intermediate_size = 1024;
  std::vector<std::size_t> bytes;
  for (const int zero : {1, 2, 3}) {
    MemoryPlan plan;
    const Sharding sharding{4, 1, zero};
    plan_sharded_weights(ctx, config, sharding, plan, false);
    plan_shards(config, sharding, OptimConfig{}, DType::kF32, false, plan);
    bytes.push_back(plan.total_bytes());
  }
  const double parameters = static_cast<double>(config.parameters());
  // 2 bytes of weights, 4 of gradients, 12 of masters and moments; a few layers and the embedding are whole.
  EXPECT_NEAR(static_cast<double>(bytes[0]), parameters * (6 + 12.0 / 4), 0.01 * parameters);
  EXPECT_LT(bytes[1], bytes[0] - static_cast<std::size_t>(parameters * 4 * 0.75 * 0.7));
  EXPECT_LT(bytes[2], bytes[1] - static_cast<std::size_t>(parameters * 2 * 0.7));
}

TEST(RanksLayout, PiecesOfAllRanksCoverEveryElementOnce) {
  for (const bool tied : {true, false}) {
    const model::ModelConfig config = tiny_config(tied, 3);
    const std::vector<model::ParameterInfo> parameters = model::parameter_list(config);
    for (const int ranks : {1, 2, 3, 8}) {
      const ShardLayout layout = shard_layout(config, ranks);
      std::vector<std::vector<int>> seen(parameters.size());
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        seen[i].assign(static_cast<std::size_t>(layout.places[i].size), 0);
      }
      for (std::size_t g = 0; g < layout.groups.size(); ++g) {
        for (int rank = 0; rank < ranks; ++rank) {
          for (const ShardLayout::Piece& piece : layout.pieces(g, rank)) {
            EXPECT_EQ(piece.first % 128, 0);
            EXPECT_LE(piece.at + piece.count, layout.groups[g].shard);
            for (std::int64_t i = 0; i < piece.count; ++i) {
              ++seen[piece.parameter][static_cast<std::size_t>(piece.first + i)];
            }
          }
        }
      }
      for (const std::vector<int>& parameter : seen) {
        for (const int count : parameter) ASSERT_EQ(count, 1);
      }
    }
  }
}

TEST(RanksExchange, ValuesOfDifferentLengthsArriveWhole) {
  dist::WorldOptions options;
  options.launch.devices = {0, 0, 0};
  dist::World world(options);
  std::vector<std::thread> threads;
  std::mutex mutex;
  for (int local = 0; local < 3; ++local) {
    threads.emplace_back([&, local] {
      const auto communicator = world.join(local);
      std::vector<double> memory(3 * kExchangeValues, NAN);
      const Tensor staging(memory.data(), DType::kF64, {3, kExchangeValues});
      const std::vector<std::size_t> sizes = {0, static_cast<std::size_t>(kExchangeValues) - 1,
                                              static_cast<std::size_t>(kExchangeValues) * 5 / 2};
      for (std::size_t turn = 0; turn < 3; ++turn) {
        const auto size_of = [&](std::size_t rank) { return sizes[(rank + turn) % 3]; };
        std::vector<double> mine(size_of(static_cast<std::size_t>(local)));
        for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<double>(i) + 0.25 * local;
        const auto all = exchange(*communicator, staging, mine, "values");
        const std::lock_guard lock(mutex);
        ASSERT_EQ(all.size(), 3U);
        for (std::size_t r = 0; r < 3; ++r) {
          ASSERT_EQ(all[r].size(), size_of(r));
          for (std::size_t i = 0; i < all[r].size(); ++i) {
            ASSERT_EQ(all[r][i], static_cast<double>(i) + 0.25 * static_cast<double>(r));
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace rlcpp::train
