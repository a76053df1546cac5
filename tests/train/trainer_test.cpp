#include "train/trainer.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "run.h"

namespace rlcpp::train {
namespace {

double norm(const std::vector<float>& v) {
  double sum = 0;
  for (const float x : v) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum);
}

TEST(Trainer, GroupingOfRowsDoesNotChangeTheGradient) {
  const auto seed = test::fresh_seed();
  for (const std::string kind : {"sft", "token", "sequence"}) {
    const bool rl = kind != "sft";
    auto options = plain_options();
    if (rl) options.loss.ratio_type = kind;
    Rng rng(seed, rl ? 1 : 0);
    const auto rows = random_rows(rng, 4, rl);
    TinyRun apart(options, seed), together(options, seed), pairs(options, seed);
    const auto a = apart.trainer->step(rows);
    const auto b = together.trainer->step({joined(rows)});
    const auto c = pairs.trainer->step({joined({rows[0], rows[1]}), joined({rows[2], rows[3]})});
    const auto ga = apart.gradients();
    EXPECT_LT(distance(ga, together.gradients()), 1e-5 * norm(ga) + 1e-9);
    EXPECT_LT(distance(ga, pairs.gradients()), 1e-5 * norm(ga) + 1e-9);
    EXPECT_NEAR(a.loss, b.loss, 1e-5 * std::abs(a.loss) + 1e-6);
    EXPECT_NEAR(a.loss, c.loss, 1e-5 * std::abs(a.loss) + 1e-6);
    EXPECT_EQ(a.loss_tokens, b.loss_tokens);
    EXPECT_EQ(a.documents, b.documents);
    EXPECT_NEAR(a.grad_norm, norm(ga), 1e-6 * a.grad_norm);
  }
}

TEST(Trainer, LossIsTheMeanOfMinusLogprobOverTrainedTokens) {
  const auto seed = test::fresh_seed();
  Rng rng(seed);
  const auto rows = random_rows(rng, 3);
  TinyRun run(plain_options(), seed);
  double sum = 0;
  std::int64_t count = 0;
  for (const auto& row : rows) {
    const auto logprobs = run.trainer->logprobs(row);
    for (std::size_t t = 0; t < logprobs.size(); ++t) {
      EXPECT_LE(logprobs[t], 0.0F);
      if (row.mask[t] == 0) continue;
      sum -= logprobs[t];
      ++count;
    }
    for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d)
      EXPECT_EQ(logprobs[static_cast<std::size_t>(row.cu_seqlens[d])], 0.0F);
  }
  const double evaluated = run.trainer->evaluate(rows);
  const auto before = run.all_weights();
  const auto result = run.trainer->step(rows);
  EXPECT_EQ(evaluated, sum / static_cast<double>(count));
  EXPECT_NEAR(result.loss, evaluated,
              1e-12);  // the same bits of every token, other order of micro-batches' divisions
  EXPECT_EQ(result.loss_tokens, count);
  EXPECT_NE(run.all_weights(), before);
}

TEST(Trainer, GradientIsTheSlopeOfTheLoss) {
  const auto seed = test::fresh_seed();
  Rng rng(seed);
  const auto rows = random_rows(rng, 3);
  for (const bool tied : {true, false}) {
    auto options = plain_options();
    options.optim.lr = 0;  // weights stay
    TinyRun run(options, seed, 1, tied);
    run.trainer->step(rows);
    const auto gradient = run.gradients();
    const double length = norm(gradient);
    const auto shift = [&](double amount) {
      std::size_t at = 0;
      for (const Tensor& t : run.weights.flat) {
        for (float& w : t.f32_span())
          w = static_cast<float>(w + amount * static_cast<double>(gradient[at++]) / length);
      }
      run.trainer->repack();
    };
    const double h = 1e-3;
    shift(h);
    const double up = run.trainer->evaluate(rows);
    shift(-2 * h);
    const double down = run.trainer->evaluate(rows);
    EXPECT_NEAR((up - down) / (2 * h), length, 2e-2 * length);
  }
}

TEST(Trainer, PolicyGradientWithRatioOneAndAdvantageOneIsCrossEntropy) {
  // r = 1, A = 1: the coefficient is -1 / N, whatever the road to it.
  const auto seed = test::fresh_seed();
  Rng rng(seed);
  auto rows = random_rows(rng, 3, true);
  TinyRun policy(plain_options(), seed), supervised(plain_options(), seed);
  std::vector<data::MicroBatch> plain;
  for (auto& row : rows) {
    row.inference_logprobs = policy.trainer->logprobs(row);
    for (std::size_t t = 0; t < row.ids.size(); ++t) {
      row.advantages[t] = row.mask[t] != 0 ? 1.0F : 0.0F;
      if (row.mask[t] == 0) row.inference_logprobs[t] = 0.0F;
    }
    auto copy = row;
    copy.rl = false;
    copy.inference_logprobs.clear();
    copy.advantages.clear();
    plain.push_back(copy);
  }
  const auto a = policy.trainer->step(rows);
  supervised.trainer->step(plain);
  EXPECT_EQ(a.max_abs_mismatch, 0.0);  // logprobs() and the loss come through the same operations
  EXPECT_EQ(a.metrics.get("mismatch_kl/mean"), 0.0);
  const auto ga = policy.gradients(), gb = supervised.gradients();
  EXPECT_LT(distance(ga, gb), 1e-5 * norm(gb));
}

TEST(Trainer, TemperatureBelongsToTheTokenItPredicts) {
  const auto seed = test::fresh_seed();
  Rng rng(seed);
  data::Sample hot = random_sample(rng, 9, false), cold = random_sample(rng, 7, false);
  hot.temperature = 2.5F;
  data::MicroBatch mixed, only_hot, only_cold;
  mixed.append(cold);
  mixed.append(hot);
  only_hot.append(hot);
  only_cold.append(cold);
  TinyRun run(plain_options(), seed);
  const auto both = run.trainer->logprobs(mixed), h = run.trainer->logprobs(only_hot),
             c = run.trainer->logprobs(only_cold);
  EXPECT_EQ(std::vector<float>(both.begin(), both.begin() + 7), c);
  EXPECT_EQ(std::vector<float>(both.begin() + 7, both.end()), h);
  auto neutral = only_hot;
  neutral.temperatures.clear();
  EXPECT_NE(run.trainer->logprobs(neutral), h);
}

TEST(Trainer, UpdateIsAdamWWithClippingInDoubles) {
  const auto seed = test::fresh_seed();
  Rng rng(seed);
  auto options = plain_options();
  options.optim.max_norm = 0.05;  // far below the gradient's norm
  options.optim.weight_decay = 0.1;
  options.optim.betas1 = 0.8;
  options.optim.betas2 = 0.95;
  TinyRun run(options, seed);
  std::vector<double> m, v;
  for (int step = 1; step <= 4; ++step) {
    const auto before = run.all_weights();
    const auto result = run.trainer->step(random_rows(rng, 2));
    const auto gradient = run.gradients();
    ASSERT_GT(result.grad_norm, 0.05);
    const double clip = 0.05 / (norm(gradient) + 1e-6);
    m.resize(gradient.size());
    v.resize(gradient.size());
    const auto after = run.all_weights();
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      const double g = clip * static_cast<double>(gradient[i]);
      m[i] = 0.8 * m[i] + 0.2 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      const double mh = m[i] / (1 - std::pow(0.8, step)), vh = v[i] / (1 - std::pow(0.95, step));
      const double expected =
          static_cast<double>(before[i]) * (1 - 1e-2 * 0.1) - 1e-2 * mh / (std::sqrt(vh) + 1e-8);
      ASSERT_NEAR(after[i], expected, 3e-6) << "step " << step << " element " << i;
    }
  }
}

TEST(Trainer, SameBitsWithAnyNumberOfThreads) {
  const auto seed = test::fresh_seed();
  for (const bool rl : {false, true}) {
    TinyRun one(plain_options(), seed, 1), three(plain_options(), seed, 3);
    Rng a(seed, 9), b(seed, 9);
    for (int step = 0; step < 4; ++step) {
      const auto x = one.trainer->step(random_rows(a, 3, rl)), y = three.trainer->step(random_rows(b, 3, rl));
      ASSERT_EQ(x.loss, y.loss);
      ASSERT_EQ(x.grad_norm, y.grad_norm);
      ASSERT_EQ(one.all_weights(), three.all_weights());
    }
  }
}

TEST(Trainer, RecomputeChangesNothing) {
  const auto seed = test::fresh_seed();
  std::vector<std::vector<float>> weights;
  for (const auto recompute :
       {model::Recompute::kNone, model::Recompute::kSelective, model::Recompute::kFull}) {
    auto options = plain_options();
    options.recompute = recompute;
    TinyRun run(options, seed);
    Rng rng(seed, 4);
    for (int step = 0; step < 3; ++step) run.trainer->step(random_rows(rng, 2));
    weights.push_back(run.all_weights());
  }
  EXPECT_EQ(weights[0], weights[1]);
  EXPECT_EQ(weights[0], weights[2]);
}

TEST(Trainer, LearnsATinyTask) {
  auto options = plain_options();
  options.optim.lr = 2e-2;
  TinyRun run(options, 7);
  std::vector<data::MicroBatch> rows(1);
  for (std::int32_t start = 0; start < 6; ++start) {
    data::Sample s;  // count upwards from `start`
    for (std::int32_t t = 0; t < 8; ++t) {
      s.ids.push_back(start + t);
      s.mask.push_back(t == 0 ? 0 : 1);
    }
    rows[0].append(s);
  }
  const double before = run.trainer->evaluate(rows);
  for (int step = 0; step < 60; ++step) run.trainer->step(rows);
  EXPECT_GT(before, 3.0);
  EXPECT_LT(run.trainer->evaluate(rows), 0.05);
}

class NonFinite : public ::testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
};

TEST_F(NonFinite, StepIsSkippedDumpedAndCounted) {
  const test::TemporaryDirectory dir;
  auto options = plain_options();
  options.dump_dir = dir / "nonfinite";
  options.max_nonfinite_steps = 3;
  options.scheduler = {"linear", 10, 0, 0};
  TinyRun run(options, 3), clean(options, 3);
  Rng rng(3), same(3);
  run.trainer->step(random_rows(rng, 2));
  clean.trainer->step(random_rows(same, 2));
  const auto before = run.all_weights();
  const auto moments = run.first_moments();
  const auto bad_rows = random_rows(rng, 2, true);
  failpoint::arm("train.gradient=nan");
  const auto result = run.trainer->step(bad_rows);
  EXPECT_TRUE(result.skipped);
  EXPECT_TRUE(std::isnan(result.grad_norm));
  EXPECT_EQ(run.all_weights(), before);
  EXPECT_EQ(run.first_moments(), moments);
  EXPECT_EQ(run.trainer->state().step, 2);
  EXPECT_EQ(run.trainer->state().updates, 1);
  EXPECT_EQ(run.trainer->state().nonfinite, 1);
  EXPECT_EQ(result.metrics.get("loss/nan_count"), 1.0);

  std::ifstream file(dir / "nonfinite/nonfinite_step_2.json");
  const auto dump = nlohmann::json::parse(file);
  EXPECT_EQ(dump["step"], 2);
  EXPECT_EQ(dump["grad_norm"], "nan");
  ASSERT_EQ(dump["micro_batches"].size(), 2U);
  EXPECT_EQ(dump["micro_batches"][0]["ids"], nlohmann::json(bad_rows[0].ids));
  EXPECT_EQ(dump["micro_batches"][1]["advantages"].size(), bad_rows[1].ids.size());

  // The next good step is the second update of an unharmed optimizer, at the learning rate of its own place.
  const auto good = random_rows(rng, 2);
  const auto third = run.trainer->step(good);
  EXPECT_FALSE(third.skipped);
  EXPECT_EQ(run.trainer->state().nonfinite, 0);
  EXPECT_EQ(run.trainer->state().skipped, 1);
  EXPECT_NEAR(third.lr, learning_rate(options.scheduler, options.optim.lr, 2, -1), 1e-15);
}

TEST_F(NonFinite, RunStopsAfterTheConfiguredCount) {
  auto options = plain_options();
  options.max_nonfinite_steps = 2;
  TinyRun run(options, 5);
  Rng rng(5);
  failpoint::arm("train.gradient=nan:*");
  EXPECT_TRUE(run.trainer->step(random_rows(rng, 1)).skipped);
  const auto before = run.all_weights();
  const std::optional<Error> stop = run.trainer->step(random_rows(rng, 1)).stop;
  ASSERT_TRUE(stop.has_value()) << "did not stop";
  EXPECT_EQ(stop->code(), ExitCode::kFailed);
  EXPECT_NE(std::string(stop->what()).find("2 steps in a row"), std::string::npos) << stop->what();
  EXPECT_NE(stop->because().find("last: step 2,"), std::string::npos) << stop->because();
  EXPECT_FALSE(stop->help().empty());
  EXPECT_EQ(run.trainer->state().nonfinite, 0);  // a continued run counts anew
  EXPECT_EQ(run.all_weights(), before);
}

TEST_F(NonFinite, AnInfiniteWeightIsCaughtToo) {
  auto options = plain_options();
  TinyRun run(options, 5);
  run.weights.final_norm.f32()[0] = std::numeric_limits<float>::infinity();
  Rng rng(5);
  EXPECT_TRUE(run.trainer->step(random_rows(rng, 1)).skipped);
}

TEST(Trainer, RefusesTokensOutsideTheVocabularyAndEmptySteps) {
  TinyRun run(plain_options(), 1);
  Rng rng(1);
  auto rows = random_rows(rng, 1);
  rows[0].ids[0] = 37;
  try {
    run.trainer->step(rows);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(e.what()).find("37"), std::string::npos);
  }
  rows = random_rows(rng, 1);
  std::fill(rows[0].mask.begin(), rows[0].mask.end(), 0);
  EXPECT_THROW(run.trainer->step(rows), Error);
}

}  // namespace
}  // namespace rlcpp::train
