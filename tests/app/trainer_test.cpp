// `rlcpp trainer --data.fake`: made-up rollouts that teach something.
#include "world.h"

namespace rlcpp::test {
namespace {

using Words = std::vector<std::string>;

class Fakes : public ::testing::Test {
 protected:
  Fakes() { world_.file("model/config.json", kTinyModel); }
  Words trainer(const std::string& out, const Words& more = {}) const {
    Words words = {"trainer",      "--data.fake", "--model.name", world_ / "model", "--model.seq-len", "64",
                   "--threads",    "1",           "--optim.lr",   "1e-3",           "--max-steps",     "4",
                   "--output-dir", world_ / out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  World world_;
};

// Log-probabilities near the model's own: no mask rejects, and every step has a gradient.
TEST_F(Fakes, NoMaskRejectsThemAndGradientsAreNotZero) {
  for (const Words& more : {Words{}, Words{"--data.fake.generate-samples"}, Words{"--loss.type", "grpo"}}) {
    const auto o = world_.run(trainer("fakes", more));
    ASSERT_EQ(o.code, 0) << o.err;
    const auto lines = world_.metrics("fakes");
    ASSERT_EQ(lines.size(), 4U);
    for (const auto& line : lines) {
      EXPECT_GT(line["optim/grad_norm"].get<double>(), 0);
      EXPECT_EQ(line["sequence_masked_high/max"], 0.0);
      EXPECT_EQ(line["geo_masked_low/max"], 0.0);
      EXPECT_EQ(line["geo_masked_high/max"], 0.0);
      EXPECT_GT(line["mismatch_kl/mean"].get<double>(), 0);
      EXPECT_LT(line["mismatch_kl/mean"].get<double>(), 0.01);
      EXPECT_NEAR(line["geo_seq_ratio/mean"].get<double>(), 1.0, 0.1);
      for (const char* what : {"mean", "median", "std", "min", "max"})
        EXPECT_TRUE(line[std::string("loss/") + what].is_number()) << what;
      EXPECT_TRUE(!more.empty() || line["is_masked/max"] == 0.0);
    }
    std::filesystem::remove_all(world_ / "fakes");
  }
}

TEST_F(Fakes, AStepWithoutAGradientIsAFailure) {
  const auto o = world_.run(
      trainer("rejected", {"--loss.geo-mask-low", "0.99999999999", "--loss.geo-mask-high", "1.00000000001"}));
  EXPECT_EQ(o.code, 1) << o.err;
  expect_has(o.err, {"error: the gradient of step 1 is zero", "the loss masks rejected every fake rollout",
                     "data.fake.logprob_noise"});
}

}  // namespace
}  // namespace rlcpp::test
