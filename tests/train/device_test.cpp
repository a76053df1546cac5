// The trainer on every device that is there: a GPU's step against the CPU's, and what must not change a bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "base/durable.h"
#include "ops/copy_queue.h"
#include "train/checkpoint.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

class OnDevice : public ::testing::TestWithParam<Device> {
 protected:
  // The tiny model with heads that attention libraries know.
  std::unique_ptr<TinyRun> run(const TrainerOptions& options, std::uint64_t seed = 1,
                               std::int64_t layers = 2) const {
    return std::make_unique<TinyRun>(options, seed, 2, true, GetParam(), layers);
  }
  bool gpu() const { return GetParam().kind == DeviceKind::kCuda; }
  // Largest difference between two gradients, relative to the norm of the second.
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      difference += d * d;
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return std::sqrt(difference / norm);
  }
  static void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0) << what;
  }
};

// bf16 keeps 8 bits: a product of two rounded numbers is off by about 2^-8, errors of a sum cancel in the
// mean. Over the few layers of this model the gradient is off by a few per cent of its norm, and a wrong term
// by far more.
TEST_P(OnDevice, AStepAgreesWithTheCpuInF32) {
  const bool gpu = GetParam().kind == DeviceKind::kCuda;
  for (const bool rl : {false, true}) {
    Rng rng(test::fresh_seed());
    const auto rows = random_rows(rng, 3, rl);
    TinyRun cpu(plain_options(), 5);
    const auto here = run(plain_options(), 5);
    const StepResult expected = cpu.trainer->step(rows);
    const StepResult result = here->trainer->step(rows);
    EXPECT_NEAR(result.loss, expected.loss, (gpu ? 0.02 : 0) * (1 + std::abs(expected.loss))) << rl;
    EXPECT_NEAR(result.grad_norm, expected.grad_norm, (gpu ? 0.05 : 0) * expected.grad_norm) << rl;
    EXPECT_LE(distance(here->gradients(), cpu.gradients()), gpu ? 0.08 : 0.0) << rl;
  }
}

TEST_P(OnDevice, TheSameSeedGivesTheSameBits) {
  const std::uint64_t seed = test::fresh_seed();
  std::vector<float> first;
  for (int repeat = 0; repeat < 2; ++repeat) {
    Rng rng(seed);
    const auto it = run(plain_options());
    for (int step = 0; step < 4; ++step) it->trainer->step(random_rows(rng, 2));
    if (repeat == 0) {
      first = it->all_weights();
    } else {
      expect_same_bits(it->all_weights(), first, "weights after four steps");
    }
  }
}

TEST_P(OnDevice, RecomputeChangesNoBit) {
  const std::uint64_t seed = test::fresh_seed();
  std::vector<float> kept;
  for (const auto policy : {model::Recompute::kNone, model::Recompute::kSelective,
                            model::Recompute::kAttention, model::Recompute::kFull}) {
    Rng rng(seed);
    TrainerOptions options = plain_options();
    options.recompute = policy;
    const auto it = run(options);
    for (int step = 0; step < 2; ++step) it->trainer->step(random_rows(rng, 2, true));
    if (policy == model::Recompute::kNone) {
      kept = it->all_weights();
    } else {
      expect_same_bits(it->all_weights(), kept, "weights with recomputed activations");
    }
  }
}

// Copies that come late, and operations that come late, in turn: an order that is left to chance goes wrong.
constexpr std::array<std::pair<double, double>, 3> kDelays = {{{0, 0}, {200, 0}, {0, 200}}};

TEST_P(OnDevice, OffloadedActivationsChangeNoBit) {
  const std::uint64_t seed = test::fresh_seed();
  constexpr std::int64_t kLayers = 6;
  const auto weights_after = [&](const TrainerOptions& options, std::pair<double, double> delays) {
    Rng rng(seed);
    const auto it = run(options, 1, kLayers);
    ops::delay_for_tests(it->ctx, delays.first, delays.second);
    for (int step = 0; step < 2; ++step) {
      it->trainer->evaluate(random_rows(rng, 1));
      it->trainer->step(random_rows(rng, 3, step > 0));
    }
    return it->all_weights();
  };
  TrainerOptions options = plain_options();
  const std::vector<float> kept = weights_after(options, {0, 0});
  options.recompute = model::Recompute::kFull;
  const std::size_t full = run(options, 1, kLayers)->planned_bytes;
  for (const auto& [policy, inflight] : {std::pair{model::Recompute::kOffload, 2},
                                         {model::Recompute::kOffload, 3},
                                         {model::Recompute::kOffloadAttention, 2},
                                         {model::Recompute::kOffloadAttention, 3}}) {
    options.recompute = policy;
    options.inflight_activations = inflight;
    for (const auto& delays : kDelays) {
      expect_same_bits(weights_after(options, delays), kept, "weights with offloaded activations");
    }
    if (policy == model::Recompute::kOffloadAttention) continue;  // more slots than this model's inputs save
    const auto it = run(options, 1, kLayers);
    EXPECT_EQ(it->host_bytes > 0, gpu());
    if (gpu()) {
      EXPECT_LT(it->planned_bytes, full);
    }
  }
}

TEST_P(OnDevice, OptimizerStateOnTheHostChangesNoBit) {
  const std::uint64_t seed = test::fresh_seed();
  for (const char* moments : {"float32", "bfloat16"}) {
    TrainerOptions options = plain_options();
    options.optim.moments = moments;
    if (options.optim.moments == "bfloat16" && !gpu()) continue;
    std::unique_ptr<TinyRun> device;
    for (const bool on_host : {false, true}) {
      options.optimizer_on_host = on_host;
      // Many chunks a parameter, and one.
      for (const std::int64_t chunk : {64, 1 << 20}) {
        options.optimizer_chunk = chunk;
        for (const auto& delays : kDelays) {
          Rng rng(seed);
          auto it = run(options);
          ops::delay_for_tests(it->ctx, delays.first / 4, delays.second / 4);
          for (int step = 0; step < 3; ++step) it->trainer->step(random_rows(rng, 2, step == 1));
          if (device == nullptr) {
            device = std::move(it);
            continue;
          }
          expect_same_bits(it->all_weights(), device->all_weights(), "weights");
          expect_same_bits(it->first_moments(), device->first_moments(), "first moments");
          expect_same_bits(it->second_moments(), device->second_moments(), "second moments");
          Rng again(seed + 1);
          const auto row = random_rows(again, 1)[0];
          expect_same_bits(it->trainer->logprobs(row), device->trainer->logprobs(row), "log-probabilities");
          EXPECT_EQ(it->host_bytes > 0, gpu() && on_host);
        }
      }
    }
  }
}

// Wherever the state was when it was saved, and wherever it rests afterwards.
TEST_P(OnDevice, ARestoredTrainerGoesOnWithStateOnTheHost) {
  Rng rng(test::fresh_seed());
  const auto before = random_rows(rng, 2), after = random_rows(rng, 2);
  for (const bool first : {false, true}) {
    for (const bool second : {false, true}) {
      const test::TemporaryDirectory dir;
      TrainerOptions options = plain_options();
      options.optimizer_chunk = 128;
      options.optimizer_on_host = first;
      const auto whole = run(options);
      whole->trainer->step(before);
      CheckpointContent content;
      content.progress.step = 1;
      save_checkpoint(durable::system_files(), dir / "checkpoints", "test", *whole->trainer, content);
      whole->trainer->step(after);
      options.optimizer_on_host = second;
      const auto resumed = run(options, 77);
      load_checkpoint(step_directory(dir / "checkpoints", 1), *resumed->trainer);
      resumed->trainer->step(after);
      expect_same_bits(resumed->all_weights(), whole->all_weights(), "weights");
      expect_same_bits(resumed->second_moments(), whole->second_moments(), "second moments");
    }
  }
}

TEST_P(OnDevice, ARestoredTrainerGoesOnWithTheSameBits) {
  Rng rng(test::fresh_seed());
  const auto before = random_rows(rng, 2), after = random_rows(rng, 2);
  const test::TemporaryDirectory dir;
  const auto whole = run(plain_options());
  whole->trainer->step(before);
  CheckpointContent content;
  content.progress.step = 1;
  save_checkpoint(durable::system_files(), dir / "checkpoints", "test", *whole->trainer, content);
  whole->trainer->step(after);
  const auto resumed = run(plain_options(), 77);
  load_checkpoint(step_directory(dir / "checkpoints", 1), *resumed->trainer);
  resumed->trainer->step(after);
  expect_same_bits(resumed->all_weights(), whole->all_weights(), "weights");
  expect_same_bits(resumed->second_moments(), whole->second_moments(), "second moments");
}

TEST_P(OnDevice, MomentsInHalfTheMemoryLearnAsWell) {
  TrainerOptions options = plain_options();
  options.optim.moments = "bfloat16";
  if (GetParam().kind == DeviceKind::kCpu) {
    EXPECT_THROW(run(options), Error);
    return;
  }
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 3);
  const auto half = run(options), full = run(plain_options());
  EXPECT_LT(half->planned_bytes, full->planned_bytes);
  double half_loss = 0, full_loss = 0;
  for (int step = 0; step < 30; ++step) {
    half_loss = half->trainer->step(rows).loss;
    full_loss = full->trainer->step(rows).loss;
  }
  EXPECT_NEAR(half_loss, full_loss, 0.1 * (1 + full_loss));
}

TEST_P(OnDevice, LogProbabilitiesAgreeWithTheCpu) {
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 1);
  TinyRun cpu(plain_options(), 9);
  const std::vector<float> expected = cpu.trainer->logprobs(rows[0]);
  const std::vector<float> actual = run(plain_options(), 9)->trainer->logprobs(rows[0]);
  ASSERT_EQ(actual.size(), expected.size());
  const float tolerance = GetParam().kind == DeviceKind::kCuda ? 0.06F : 0.0F;
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << i;
}

TEST_P(OnDevice, TrainingBringsTheLossDown) {
  Rng rng(test::fresh_seed());
  const auto rows = random_rows(rng, 3);
  const auto it = run(plain_options());
  const double first = it->trainer->step(rows).loss;
  double last = first;
  for (int step = 0; step < 30; ++step) last = it->trainer->step(rows).loss;
  EXPECT_LT(last, 0.6 * first);
}

INSTANTIATE_TEST_SUITE_P(Trainer, OnDevice, ::testing::ValuesIn(devices()), name_of_device);

}  // namespace
}  // namespace rlcpp::train
