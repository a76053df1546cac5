// A row's losses, the policy's and the text's, against tools/oracle_algorithms.py.
#include "train/row_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include <nlohmann/json.hpp>

#include "data_path.h"
#include "support.h"
#include "train/run.h"

namespace rlcpp::train {
namespace {

// Steps of two rows with several documents: loss, gradient of every token and the text's part, with the
// divisors of the whole step.
TEST(RowLoss, PolicyAndTextEqualTheOracle) {
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(test::data_path("train/loss_echo.json")));
  ASSERT_EQ(golden["steps"].size(), 30U);
  for (const auto& step : golden["steps"]) {
    LossConfig config;
    config.type = step["type"];
    config.kl_tau = step.value("kl_tau", 0.0);
    std::vector<data::MicroBatch> rows(2);
    std::vector<std::vector<float>> logprobs(2);
    std::vector<double> gradient[2], nll;
    for (const auto& doc : step["documents"]) {
      const auto row = doc["row"].get<std::size_t>();
      data::Sample sample;
      sample.mask = doc["mask"].get<std::vector<std::uint8_t>>();
      sample.ids.assign(sample.mask.size(), 1);
      sample.inference_logprobs = doc["inference"].get<std::vector<float>>();
      sample.advantages = doc["advantage"].get<std::vector<float>>();
      sample.ce_weights = doc["weights"].get<std::vector<float>>();
      rows[row].append(sample);
      const auto own = doc["trainer"].get<std::vector<float>>();
      logprobs[row].insert(logprobs[row].end(), own.begin(), own.end());
      const auto expected = doc["gradient"].get<std::vector<double>>();
      gradient[row].insert(gradient[row].end(), expected.begin(), expected.end());
    }
    const Scales scales = scales_of(rows, config);
    EXPECT_EQ(scales.policy, step["policy_scale"]);
    EXPECT_EQ(scales.text, step["text_scale"]);
    LossMetrics metrics;
    for (std::size_t row = 0; row < 2; ++row) {
      if (rows[row].ids.empty()) continue;
      std::vector<float> coefficients(rows[row].ids.size(), std::numeric_limits<float>::quiet_NaN());
      row_loss(config, rows[row], logprobs[row], std::vector<float>(rows[row].ids.size(), 0.5F), scales,
               coefficients, metrics);
      for (std::size_t t = 0; t < coefficients.size(); ++t)
        EXPECT_NEAR(coefficients[t], gradient[row][t], 1e-6 * std::abs(gradient[row][t]) + 1e-12) << t;
    }
    EXPECT_NEAR(metrics.loss, step["loss"], 1e-6 * std::abs(step["loss"].get<double>()) + 1e-12);
    double sum = 0;
    for (const double value : metrics.nll) sum += value;
    EXPECT_EQ(static_cast<double>(metrics.nll.size()), scales.text);
    EXPECT_NEAR(sum, step["nll"], 1e-6 * (1 + sum));
  }
}

// Through the trainer: without advantages, weights of 1 are supervised training on those tokens.
TEST(RowLoss, TextOfWeightOneIsCrossEntropy) {
  for (const bool lora : {false, true}) {
    const auto seed = test::fresh_seed();
    Rng rng(seed);
    TrainerOptions options;
    options.optim.lr = 1e-2;
    options.scheduler.warmup_steps = 0;
    model::AdapterConfig adapters;
    if (lora) {
      adapters.rank = 3;
      adapters.alpha = 6;
      adapters.targets.fill(true);
    }
    TinyRun echo(options, seed, 1, true, {}, 2, adapters),
        supervised(options, seed, 1, true, {}, 2, adapters);
    std::vector<data::MicroBatch> rows(3), plain(3);
    for (int d = 0; d < 7; ++d) {
      data::Sample sample, text;
      for (std::size_t t = 0, n = 4 + rng.below(20); t < n; ++t) {
        sample.ids.push_back(static_cast<std::int32_t>(rng.below(37)));
        const bool said = t > 1 && (t == 3 || rng.below(2) == 0);
        sample.mask.push_back(t == 1 ? 1 : 0);
        sample.ce_weights.push_back(said ? 1.0F : 0.0F);
        text.mask.push_back(said ? 1 : 0);
      }
      text.ids = sample.ids;
      sample.advantages.assign(sample.ids.size(), 0.0F);
      sample.inference_logprobs.assign(sample.ids.size(), 0.0F);
      sample.inference_logprobs[1] = -3.0F;
      rows[static_cast<std::size_t>(d % 3)].append(sample);
      plain[static_cast<std::size_t>(d % 3)].append(text);
    }
    const StepResult a = echo.trainer->step(rows), b = supervised.trainer->step(plain);
    EXPECT_NEAR(a.loss, b.loss, 1e-6 * b.loss);
    EXPECT_NEAR(a.metrics.get("nll/mean"), b.loss, 1e-6 * b.loss);
    EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-5 * b.grad_norm);
    EXPECT_GT(a.grad_norm, 0);
    const auto& one = echo.trainer->trained();
    const auto& other = supervised.trainer->trained();
    ASSERT_EQ(one.size(), other.size());
    for (std::size_t p = 0; p < one.size(); ++p) {
      const std::vector<float> ga = to_floats(one[p].gradient), gb = to_floats(other[p].gradient);
      ASSERT_EQ(ga.size(), gb.size());
      for (std::size_t i = 0; i < ga.size(); ++i) ASSERT_NEAR(ga[i], gb[i], 1e-5 * b.grad_norm) << p;
    }
  }
}

}  // namespace
}  // namespace rlcpp::train
