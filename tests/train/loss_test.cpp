#include "train/loss/loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "data_path.h"
#include "support.h"
#include "train/loss/kinds.h"
#include "train/nonfinite.h"

namespace rlcpp::train {
namespace {

struct Document {
  std::vector<float> trainer, inference, advantage, teacher, entropy;
  std::vector<std::uint8_t> mask;
  DocumentStreams streams() const { return {trainer, inference, advantage, teacher, entropy, mask}; }
};

LossConfig config_from(const nlohmann::json& changes) {
  LossConfig c;
  c.type = changes.value("type", c.type);
  c.ratio_type = changes.value("ratio_type", c.ratio_type);
  c.token_mask_low = changes.value("token_mask_low", c.token_mask_low);
  c.token_mask_high = changes.value("token_mask_high", c.token_mask_high);
  c.sequence_clip_high = changes.value("sequence_clip_high", c.sequence_clip_high);
  c.geo_mask_low = changes.value("geo_mask_low", c.geo_mask_low);
  c.geo_mask_high = changes.value("geo_mask_high", c.geo_mask_high);
  c.sequence_mask_low = changes.value("sequence_mask_low", c.sequence_mask_low);
  c.sequence_mask_high = changes.value("sequence_mask_high", c.sequence_mask_high);
  c.adv_tau = changes.value("adv_tau", c.adv_tau);
  c.teacher_tau = changes.value("teacher_tau", c.teacher_tau);
  c.kl_tau = changes.value("kl_tau", c.kl_tau);
  c.clip_low = changes.value("clip_low", c.clip_low);
  c.clip_high = changes.value("clip_high", c.clip_high);
  c.gspo_clip_low = changes.value("gspo_clip_low", c.gspo_clip_low);
  c.gspo_clip_high = changes.value("gspo_clip_high", c.gspo_clip_high);
  c.dppo_mask_low = changes.value("dppo_mask_low", c.dppo_mask_low);
  c.dppo_mask_high = changes.value("dppo_mask_high", c.dppo_mask_high);
  c.ipo_threshold = changes.value("ipo_threshold", c.ipo_threshold);
  return c;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// The cases seen.
std::size_t expect_equal_to_oracle(const char* file_name) {
  std::ifstream file(test::data_path(file_name));
  const nlohmann::json golden = nlohmann::json::parse(file);
  EXPECT_GE(golden["rows"].size(), 70U);
  std::map<std::string, int> cases;
  for (const auto& row : golden["rows"]) {
    SCOPED_TRACE(row["case"].get<std::string>());
    ++cases[row["case"]];
    Document doc;
    doc.trainer = row["trainer"].get<std::vector<float>>();
    doc.inference = row["inference"].get<std::vector<float>>();
    doc.advantage = row["advantage"].get<std::vector<float>>();
    doc.teacher = row.value("teacher", std::vector<float>{});
    doc.mask = row["mask"].get<std::vector<std::uint8_t>>();
    const LossConfig config = config_from(row["config"]);
    EXPECT_NO_THROW(config.validate());
    std::vector<float> coefficients(doc.mask.size(), kPoison);
    LossMetrics metrics;
    policy_loss(config, doc.streams(), row["scale"], coefficients, metrics);

    const nlohmann::json& expected = row["expected"];
    const auto near = [&](double value, double wanted, const char* name) {
      EXPECT_NEAR(value, wanted, 1e-6 * std::abs(wanted) + 1e-12) << name;
    };
    near(metrics.loss, expected["loss"], "loss");
    for (std::size_t t = 0; t < coefficients.size(); ++t) {
      near(static_cast<double>(coefficients[t]), expected["gradient"][t], "gradient");
      if (doc.mask[t] == 0) {
        EXPECT_EQ(coefficients[t], 0.0F);
      }
    }
    near(mean(metrics.trainer_probs), expected["trainer_probs"], "trainer_probs");
    near(mean(metrics.inference_probs), expected["inference_probs"], "inference_probs");
    near(mean(metrics.mismatch_kl), expected["mismatch_kl"], "mismatch_kl");
    near(mean(metrics.masked_mismatch_kl), expected["masked_mismatch_kl"], "masked_mismatch_kl");
    near(mean(metrics.unmasked_mismatch_kl), expected["unmasked_mismatch_kl"], "unmasked_mismatch_kl");
    near(mean(metrics.is_masked), expected["is_masked"], "is_masked");
    near(mean(metrics.is_masked_low), expected["is_masked_low"], "is_masked_low");
    near(mean(metrics.is_masked_high), expected["is_masked_high"], "is_masked_high");
    near(mean(metrics.sequence_masked_low), expected["sequence_masked_low"], "sequence_masked_low");
    near(mean(metrics.sequence_masked_high), expected["sequence_masked_high"], "sequence_masked_high");
    near(mean(metrics.geo_masked_low), expected["geo_masked_low"], "geo_masked_low");
    near(mean(metrics.geo_masked_high), expected["geo_masked_high"], "geo_masked_high");
    near(mean(metrics.geo_seq_ratio), expected["geo_seq_ratio"], "geo_seq_ratio");
    near(metrics.max_abs_mismatch, expected["max_abs_mismatch"], "max_abs_mismatch");
    EXPECT_EQ(metrics.teacher_kl.size(), doc.teacher.empty() ? 0U : 1U);
    if (!doc.teacher.empty()) near(metrics.teacher_kl[0], expected["teacher_kl"], "teacher_kl");
  }
  return cases.size();
}

TEST(PolicyLoss, EqualsTheOracleWithGradientsAndMetrics) {
  EXPECT_EQ(expect_equal_to_oracle("train/loss.json"), 19U);
}

// dppo, ipo, distill and gspo (tools/oracle_algorithms.py).
TEST(PolicyLoss, LaterKindsEqualTheirOracle) {
  EXPECT_EQ(expect_equal_to_oracle("train/loss_later.json"), 13U);
}

TEST(PolicyLoss, DistillationWithoutATeacherIsRefused) {
  Document doc;
  doc.trainer = doc.inference = {-1.0F, -2.0F};
  doc.advantage = {0.0F, 0.0F};
  doc.mask = {0, 1};
  LossConfig config;
  config.type = "distill";
  EXPECT_TRUE(config.needs_teacher());
  std::vector<float> coefficients(2);
  LossMetrics metrics;
  try {
    policy_loss(config, doc.streams(), 1, coefficients, metrics);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    EXPECT_NE(e.help().find("teacher_model"), std::string::npos);
  }
}

Document random_document(Rng& rng, std::size_t n) {
  Document doc;
  for (std::size_t t = 0; t < n; ++t) {
    doc.trainer.push_back(-4.0F * rng.uniform());
    doc.inference.push_back(doc.trainer.back() + 0.3F * (rng.uniform() - 0.5F));
    doc.advantage.push_back(rng.normal());
    doc.entropy.push_back(rng.uniform());
    doc.mask.push_back(t > 0 && rng.uniform() < 0.8F ? 1 : 0);
  }
  doc.mask.back() = 1;
  return doc;
}

TEST(PolicyLoss, OnPolicyAllKindsArePolicyGradient) {
  Rng rng(rlcpp::test::fresh_seed());
  for (const char* type : {"default", "grpo", "dppo", "ipo"}) {
    Document doc = random_document(rng, 40);
    doc.inference = doc.trainer;
    LossConfig config;
    config.type = type;
    std::vector<float> coefficients(40, kPoison);
    LossMetrics metrics;
    policy_loss(config, doc.streams(), 7.0, coefficients, metrics);
    for (std::size_t t = 0; t < 40; ++t) {
      EXPECT_FLOAT_EQ(coefficients[t], doc.mask[t] != 0 ? -doc.advantage[t] / 7.0F : 0.0F) << type;
    }
    EXPECT_EQ(metrics.max_abs_mismatch, 0.0);
    EXPECT_EQ(mean(metrics.mismatch_kl), 0.0);  // exactly: what exact mode logs
    EXPECT_EQ(mean(metrics.geo_seq_ratio), 1.0);
  }
}

TEST(PolicyLoss, GrpoGradientIsItsFiniteDifference) {
  Rng rng(rlcpp::test::fresh_seed());
  LossConfig config;
  config.type = "grpo";
  const auto loss_of = [&](const Document& doc) {
    std::vector<float> coefficients(doc.mask.size());
    LossMetrics metrics;
    policy_loss(config, doc.streams(), 3.0, coefficients, metrics);
    return metrics.loss;
  };
  for (int round = 0; round < 20; ++round) {
    Document doc = random_document(rng, 12);
    std::vector<float> coefficients(12, kPoison);
    LossMetrics metrics;
    policy_loss(config, doc.streams(), 3.0, coefficients, metrics);
    for (std::size_t t = 0; t < 12; ++t) {
      const double ratio =
          std::exp(static_cast<double>(doc.trainer[t]) - static_cast<double>(doc.inference[t]));
      if (std::abs(ratio - 0.8) < 5e-3 || std::abs(ratio - 1.2) < 5e-3) continue;  // a kink
      Document up = doc, down = doc;
      up.trainer[t] += 1e-3F;
      down.trainer[t] -= 1e-3F;
      const double h = static_cast<double>(up.trainer[t]) - static_cast<double>(down.trainer[t]);
      EXPECT_NEAR(coefficients[t], (loss_of(up) - loss_of(down)) / h, 1e-5);
    }
  }
}

TEST(PolicyLoss, DocumentsAddUpAndEmptyOnesCountNowhere) {
  Rng rng(rlcpp::test::fresh_seed());
  Document first = random_document(rng, 10);
  Document second = random_document(rng, 15);
  Document nothing = random_document(rng, 5);
  nothing.mask.assign(5, 0);
  const LossConfig config;
  std::vector<float> c(15);
  LossMetrics both, one, two;
  policy_loss(config, first.streams(), 9.0, std::span(c).first(10), both);
  policy_loss(config, second.streams(), 9.0, c, both);
  std::vector<float> poisoned(5, kPoison);
  policy_loss(config, nothing.streams(), 9.0, poisoned, both);
  EXPECT_EQ(poisoned, std::vector<float>(5, 0.0F));
  policy_loss(config, first.streams(), 9.0, std::span(c).first(10), one);
  policy_loss(config, second.streams(), 9.0, c, two);
  EXPECT_NEAR(both.loss, one.loss + two.loss, 1e-12);
  EXPECT_EQ(both.mismatch_kl.size(), 2U);
  EXPECT_EQ(both.entropy.size(), one.entropy.size() + two.entropy.size());
  monitor::Metrics logged;
  add_metrics(both, logged);
  EXPECT_EQ(logged.get("mismatch_kl/mean"), (one.mismatch_kl[0] + two.mismatch_kl[0]) / 2);
  EXPECT_TRUE(logged.has("entropy/median"));
  EXPECT_FALSE(logged.has("teacher_kl/mean"));
}

// loss/median, std, min and max are over documents, each the mean over its own loss tokens: of no effect are
// the step's divisor, and which documents share a row.
TEST(PolicyLoss, DistributionOfTheLossIsOverDocuments) {
  Rng rng(rlcpp::test::fresh_seed());
  for (const char* ratio_type : {"token", "sequence"}) {
    LossConfig config;
    config.ratio_type = ratio_type;
    LossMetrics metrics;
    std::vector<double> expected;
    double tokens = 0, weighted = 0;
    const double scale = 0.5 + 100.0 * rng.uniform_double();
    for (int d = 0; d < 9; ++d) {
      Document doc;
      double sum = 0, count = 0, sum_log = 0;
      const std::size_t length = 1 + rng.below(12);
      for (std::size_t t = 0; t < length; ++t) {
        doc.trainer.push_back(-3.0F * rng.uniform());
        doc.inference.push_back(doc.trainer.back() + 0.1F * rng.normal());
        doc.advantage.push_back(rng.normal());
        doc.mask.push_back(t > 0 && rng.below(3) > 0 ? 1 : 0);
      }
      for (std::size_t t = 0; t < length; ++t) {
        if (doc.mask[t] != 0)
          sum_log += static_cast<double>(doc.trainer[t]) - static_cast<double>(doc.inference[t]);
      }
      for (std::size_t t = 0; t < length; ++t) {
        if (doc.mask[t] == 0) continue;
        const auto trainer = static_cast<double>(doc.trainer[t]);
        const double ratio = config.ratio_type == "token"
                                 ? std::exp(trainer - static_cast<double>(doc.inference[t]))
                                 : std::exp(sum_log);
        sum -= ratio * static_cast<double>(doc.advantage[t]) * trainer;
        count += 1;
      }
      std::vector<float> coefficients(length, kPoison);
      policy_loss(config, doc.streams(), scale, coefficients, metrics);
      if (count == 0) continue;
      expected.push_back(sum / count);
      tokens += count;
      weighted += config.ratio_type == "token" ? sum : sum / count;
    }
    ASSERT_EQ(metrics.document_loss.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(metrics.document_loss[i], expected[i], 1e-9 * (1 + std::abs(expected[i])));
    EXPECT_NEAR(metrics.loss, weighted / scale, 1e-9 * (1 + std::abs(weighted / scale)));
    monitor::Metrics out;
    out.set("loss/mean", 7);
    add_metrics(metrics, out);
    EXPECT_EQ(out.get("loss/mean"), 7);  // the step's own
    EXPECT_EQ(out.get("loss/max"),
              *std::max_element(metrics.document_loss.begin(), metrics.document_loss.end()));
    EXPECT_EQ(out.get("loss/min"),
              *std::min_element(metrics.document_loss.begin(), metrics.document_loss.end()));
    EXPECT_TRUE(out.has("loss/median") && out.has("loss/std"));
  }
}

TEST(PolicyLoss, NamesTheFirstMismatch) {
  Rng rng(rlcpp::test::fresh_seed());
  LossMetrics metrics;
  std::vector<float> coefficients(10);
  for (int document = 0; document < 4; ++document) {
    Document doc = random_document(rng, 10);
    doc.inference = doc.trainer;
    doc.mask.assign(10, document == 1 ? 0 : 1);
    if (document >= 1) doc.inference[6] = std::nextafterf(doc.trainer[6], 1.0F);
    policy_loss(LossConfig{}, doc.streams(), 1.0, coefficients, metrics);
    EXPECT_EQ(metrics.first_mismatch.has_value(), document >= 2);  // what is masked does not count
    if (document != 2) continue;
    EXPECT_EQ(metrics.first_mismatch->inference, doc.inference[6]);
    EXPECT_EQ(metrics.first_mismatch->trainer, doc.trainer[6]);
  }
  EXPECT_EQ(metrics.first_mismatch->document, 2);
  EXPECT_EQ(metrics.first_mismatch->token, 6);
  EXPECT_GT(metrics.max_abs_mismatch, 0.0);
}

TEST(PolicyLoss, ExtremeRatiosAreMaskedNotPropagated) {
  Document doc;
  doc.trainer = {0, -1, -200, -1};
  doc.inference = {0, -900, -1, -1};  // the second ratio overflows
  doc.advantage = {0, 1, 1, 1};
  doc.mask = {0, 1, 1, 1};
  std::vector<float> coefficients(4, kPoison);
  LossMetrics metrics;
  policy_loss(LossConfig{}, doc.streams(), 1.0, coefficients, metrics);
  EXPECT_EQ(coefficients, std::vector<float>(4, 0.0F));
  EXPECT_EQ(metrics.loss, 0.0);
  EXPECT_EQ(metrics.sequence_masked_high, std::vector<double>{1.0});
}

TEST(LossConfig, RefusesWhatCannotWork) {
  const auto refused = [](auto change) {
    LossConfig config;
    change(config);
    try {
      config.validate();
    } catch (const Error& e) {
      return e.render();
    }
    return std::string();
  };
  EXPECT_EQ(refused([](LossConfig&) {}), "");
  EXPECT_NE(refused([](LossConfig& c) {
              c.type = "ppo";
            }).find("default, grpo, gspo, dppo, ipo, distill, cross_entropy"),
            std::string::npos);
  EXPECT_NE(refused([](LossConfig& c) { c.token_mask_low = 9; }).find("token_mask"), std::string::npos);
  EXPECT_NE(refused([](LossConfig& c) { c.geo_mask_high = 0.1; }).find("geo_mask"), std::string::npos);
  EXPECT_NE(refused([](LossConfig& c) { c.sequence_mask_low = 100; }).find("sequence_mask"),
            std::string::npos);
  EXPECT_NE(refused([](LossConfig& c) { c.clip_high = 0.3; }).find("no effect"), std::string::npos);
  EXPECT_NE(refused([](LossConfig& c) { c.type = "grpo", c.ratio_type = "sequence"; }).find("no effect"),
            std::string::npos);
  EXPECT_EQ(loss_kinds().size(), 7U);
}

}  // namespace
}  // namespace rlcpp::train
