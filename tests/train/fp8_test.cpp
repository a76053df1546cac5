// Training with products in FP8: what it may change, and what it must not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "model/fp8.h"
#include "ops/fp8.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

model::AdapterConfig some_adapters() {
  model::AdapterConfig out;
  out.rank = 8;
  out.alpha = 16;
  out.targets.fill(true);
  out.base = "tiny";
  return out;
}

class Fp8Training : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    ThreadPool pool(1);
    if (!ops::has_fp8(ops::make_context(GetParam(), pool))) GTEST_SKIP() << "this GPU has no FP8";
  }
  // `fp8` false: the same model with products in the compute type.
  std::unique_ptr<TinyRun> run(bool fp8, bool adapters = false,
                               model::Recompute recompute = model::Recompute::kNone) const {
    TrainerOptions options = plain_options();
    options.fp8 = fp8;
    options.recompute = recompute;
    return std::make_unique<TinyRun>(options, 7, 2, true, GetParam(), 3,
                                     adapters ? some_adapters() : model::AdapterConfig(), nullptr, true);
  }
  static std::vector<float> masters(const TinyRun& run) { return run.trained(&TrainedParameter::master); }
};

// The matrices of blocks as FP8 has them: rounded to four bits of their own scale.
void round_blocks(TinyRun& run) {
  for (const model::LayerTensors& layer : run.weights.layers) {
    for (const Tensor& w : {layer.qkv, layer.out, layer.gate_up, layer.down}) {
      std::vector<float> values = to_floats(w);
      float largest = 0;
      for (const float value : values) largest = std::max(largest, std::fabs(value));
      const float scale = largest / ops::kFp8Largest;
      for (float& value : values) {
        int exponent = 0;
        const float fraction = std::frexp(value / scale, &exponent);
        value = scale * std::ldexp(std::nearbyint(16 * fraction), exponent - 4);
      }
      from_floats(w, values);
    }
  }
  run.trainer->repack();
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

// Rounded weights alone move the gradient by so much, in this model and for these rows; FP8 rounds inputs and
// gradients as well, each as coarsely. A product that is left out, or of other operands, moves it by far
// more. Rows of text: what a policy loss masks hangs on a hair.
TEST_P(Fp8Training, TheGradientMovesByWhatRoundingMovesIt) {
  for (const bool adapters : {false, true}) {
    Rng rng(test::fresh_seed());
    const auto rows = random_rows(rng, 6);
    const auto plain = run(false, adapters), rounded = run(false, adapters), it = run(true, adapters);
    round_blocks(*rounded);
    const StepResult expected = plain->trainer->step(rows), result = it->trainer->step(rows);
    rounded->trainer->step(rows);
    EXPECT_NEAR(result.loss, expected.loss, 0.05 * (1 + std::abs(expected.loss)));
    const double of_weights = distance(rounded->gradients(), plain->gradients());
    const double all = distance(it->gradients(), plain->gradients());
    EXPECT_GT(of_weights, 0.005);
    EXPECT_LT(all, 3 * of_weights) << "adapters " << adapters;
    EXPECT_GT(all, 0.3 * of_weights) << "nothing was quantised";
  }
}

TEST_P(Fp8Training, RecomputationAndRepetitionChangeNoBit) {
  for (const bool adapters : {false, true}) {
    const std::uint64_t seed = test::fresh_seed();
    std::vector<float> kept;
    using model::Recompute;
    for (const auto policy :
         {Recompute::kNone, Recompute::kNone, Recompute::kSelective, Recompute::kAttention, Recompute::kFull,
          Recompute::kOffload, Recompute::kOffloadAttention}) {
      Rng rng(seed);
      const auto it = run(true, adapters, policy);
      for (int step = 0; step < 2; ++step) {
        it->trainer->evaluate(random_rows(rng, 1));
        it->trainer->step(random_rows(rng, 3, step > 0));
      }
      if (kept.empty()) {
        kept = masters(*it);
        continue;
      }
      const std::vector<float> now = masters(*it);
      ASSERT_EQ(now.size(), kept.size());
      EXPECT_EQ(std::memcmp(now.data(), kept.data(), now.size() * sizeof(float)), 0)
          << "policy " << static_cast<int>(policy) << ", adapters " << adapters;
    }
  }
}

TEST_P(Fp8Training, TheLossComesDownAsFar) {
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 3);
  const auto plain = run(false), it = run(true);
  const double first = it->trainer->step(rows).loss;
  double last = first, expected = plain->trainer->step(rows).loss;
  for (int step = 0; step < 30; ++step) {
    last = it->trainer->step(rows).loss;
    expected = plain->trainer->step(rows).loss;
  }
  EXPECT_LT(last, 0.6 * first);
  EXPECT_LT(last, expected + 0.1 * first);
}

INSTANTIATE_TEST_SUITE_P(, Fp8Training, ::testing::ValuesIn(devices()), name_of_device);

TEST(Fp8Model, WhatCannotBeIsRefused) {
  ThreadPool pool(1);
  const ops::Context cpu = ops::make_context(Device{}, pool);
  EXPECT_NO_THROW(model::require_fp8(cpu, tiny_fp8_config()));
  try {
    model::require_fp8(cpu, tiny_config());
    ADD_FAILURE() << "a weight of 24 columns was accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.what()).find("40 x 24"), std::string::npos) << e.what();
  }
  const ops::Context exact = ops::planning_context({DeviceKind::kCuda, 0}, pool, ops::NumericMode::kExact);
  EXPECT_THROW(model::require_fp8(exact, tiny_fp8_config()), Error);
  const ops::Context fast = ops::planning_context({DeviceKind::kCuda, 0}, pool, ops::NumericMode::kFast);
  EXPECT_NO_THROW(model::require_fp8(fast, tiny_fp8_config()));
}

}  // namespace
}  // namespace rlcpp::train
