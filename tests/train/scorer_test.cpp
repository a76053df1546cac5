#include "train/scorer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "ops/back_ends.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

using Scoring = test::OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Scoring, test::every_device(), test::device_name);

// The trainer's numbers to the last bit, though nothing of training is planned, and in one row what rows of
// their own give (on the CPU: a GPU may take other kernels for another number of rows).
TEST_P(Scoring, GivesTheTrainersNumbers) {
  const Device device = context().device;
  TinyRun trained(plain_options(), 3, 2, true, device);
  ThreadPool pool(2);
  const ops::Context ctx = ops::make_context(device, pool);
  const model::ModelConfig& config = trained.config;
  MemoryPlan plan;
  const auto weight_regions =
      model::plan_weights(config, plan, MemoryUse::kWeights, "w.", ctx.compute_type());
  const auto packed_regions = model::plan_packed(config, ctx, plan);
  const auto rope_regions = model::plan_rope(config, plan, 64);
  const Scorer::Regions regions = Scorer::plan(ctx, config, trained.options.max_tokens, plan);
  EXPECT_EQ(plan.bytes_of(MemoryUse::kGradients) + plan.bytes_of(MemoryUse::kOptimizer), 0U);
  EXPECT_LT(plan.total_bytes(), trained.planned_bytes);
  const Arena arena(plan, device);
  arena.poison_all();
  const model::WeightSet weights = model::make_weight_set(config, arena, weight_regions);
  model::init_random(config, weights, 3);
  Scorer scorer(ctx, config, arena, regions, weights, model::make_packed_set(config, arena, packed_regions),
                model::make_rope(config, arena, rope_regions));

  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 4);
  for (const data::MicroBatch& row : rows) {
    const std::vector<float> expected = trained.trainer->logprobs(row), actual = scorer.logprobs(row);
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0);
  }
  if (ctx.on_gpu()) return;
  const std::vector<float> together = scorer.logprobs(joined(rows));
  std::vector<float> apart;
  for (const data::MicroBatch& row : rows) {
    const std::vector<float> part = scorer.logprobs(row);
    apart.insert(apart.end(), part.begin(), part.end());
  }
  EXPECT_EQ(together, apart);
}

}  // namespace
}  // namespace rlcpp::train
