// `model.quantization`, as a user meets it.
#include <nlohmann/json.hpp>

#include "rl_run.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class Quantization : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    std::string wider(kTinyModel);
    const auto at = wider.find("\"intermediate_size\"");
    wider.replace(at, wider.find(',', at) - at, "\"intermediate_size\": 32");
    world_->file("wider/config.json", wider);
    std::string odd = wider;
    odd.replace(odd.find("32", at), 2, "36");
    world_->file("odd/config.json", odd);
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::vector<std::string> sft(const std::string& out, const std::string& model,
                                      std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--model.name", *world_ / model, "--device", "cpu"});
    return world_->sft(out, more);
  }
  // Three steps of a benchmark on the CPU, whose result goes to <world>/<name>.json.
  static std::vector<std::string> bench(const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"sft",
                                      "--bench",
                                      "--model.name",
                                      *world_ / "wider",
                                      "--data.seq-len",
                                      "32",
                                      "--data.batch-size",
                                      "1",
                                      "--data.type",
                                      "fake",
                                      "--max-steps",
                                      "3",
                                      "--device",
                                      "cpu",
                                      "--threads",
                                      "1",
                                      "--output-dir",
                                      *world_ / name,
                                      "--bench.output-json",
                                      *world_ / (name + ".json")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static std::string mode_of(const std::string& name) {
    return Json::parse(slurp(*world_ / (name + ".json"))).at("config").at("numeric_mode");
  }
  static SftWorld* world_;
};
SftWorld* Quantization::world_ = nullptr;

TEST_F(Quantization, ARunInFp8LearnsAndIsNotTheSameRun) {
  const auto plain = world_->run(sft("plain", "wider")),
             fp8 = world_->run(sft("fp8", "wider", {"--model.quantization", "fp8"}));
  ASSERT_EQ(plain.code, 0) << plain.err;
  ASSERT_EQ(fp8.code, 0) << fp8.err;
  const auto before = world_->metrics("plain"), lines = world_->metrics("fp8");
  ASSERT_EQ(lines.size(), 6U);
  const auto loss = [](const Json& line) { return line.at("loss/mean").get<double>(); };
  EXPECT_NEAR(loss(lines.front()), loss(before.front()), 0.05);
  EXPECT_NE(loss(lines.front()), loss(before.front()));
  EXPECT_LT(loss(lines.back()), loss(lines.front()) - 0.1);
}

TEST_F(Quantization, ResultsNameIt) {
  const auto o = world_->run(bench("result", {"--model.quantization", "fp8"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(mode_of("result"), "fp8");
}

// The CPU adds in one order in any case.
TEST_F(Quantization, AnyOrderIsNothingOnTheCpuAndNotInModeExact) {
  const auto o = world_->run(bench("any", {"--deterministic", "false"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(mode_of("any"), "exact");
  const auto refused = world_->run(bench("refused", {"--deterministic", "false", "--numeric-mode", "exact"}));
  EXPECT_EQ(refused.code, 2);
  expect_has(refused.err, {"deterministic is false and numeric_mode is exact"});
}

TEST_F(Quantization, WhatCannotBeIsRefusedInASentence) {
  const auto odd = world_->run(sft("refused", "odd", {"--model.quantization", "fp8"}));
  EXPECT_EQ(odd.code, 2);
  expect_has(odd.err, {"model.quantization is fp8, and the model has a weight of", "multiples of 16"});
  const auto other = world_->run(sft("refused", "wider", {"--model.quantization", "mxfp8"}));
  EXPECT_EQ(other.code, 2);
  expect_has(other.err, {"mxfp8", "Blackwell", "use fp8"});
}

TEST(QuantizationOfRl, ModeExactRefusesWhatTheEngineDoesNotCompute) {
  RlWorld world;
  const auto o = world.run(world.rl("run", {"--trainer.model.quantization", "fp8", "--device", "cpu"}));
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err,
             {"trainer.model.quantization is fp8, and this run is in mode exact", "the engine has no FP8"});
}

}  // namespace
}  // namespace rlcpp::test
