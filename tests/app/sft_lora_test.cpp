// `rlcpp sft` with model.lora, as a user meets it.
#include <nlohmann/json.hpp>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class SftLora : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  // A run on the model that a full run has trained, so that there are weights to load.
  static std::vector<std::string> lora(const std::string& out, std::vector<std::string> more = {}) {
    const std::string base = *world_ / "base/weights/step_6";
    if (!fs::exists(base)) {
      EXPECT_EQ(world_->run(world_->sft("base")).code, 0);
    }
    more.insert(more.end(), {"--model.name", base, "--model.lora.alpha", "16"});
    if (std::find(more.begin(), more.end(), "--model.lora.rank") == more.end()) {
      more.insert(more.end(), {"--model.lora.rank", "4"});
    }
    return world_->sft(out, more);
  }
  static SftWorld* world_;
};
SftWorld* SftLora::world_ = nullptr;

TEST_F(SftLora, ARunTrainsAdaptersAndExportsMergedWeightsBesideThem) {
  const auto o = world_->run(lora("run", {"--max-steps", "12", "--ckpt.weights.dtype", "float32"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"LoRA rank 4 on q,k,v,o,gate,up,down: ", " trained of ", " parameters"});
  const auto lines = world_->metrics("run");
  ASSERT_EQ(lines.size(), 12U);
  const std::string weights = *world_ / "run/weights/step_12";
  const Json config = Json::parse(slurp(weights + "/lora_adapters/adapter_config.json"));
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"], 16);
  EXPECT_EQ(config["base_model_name_or_path"], *world_ / "base/weights/step_6");
  EXPECT_TRUE(fs::exists(weights + "/lora_adapters/adapter_model.safetensors"));
  // A chat with the base and the adapter beside it, greedy, says what the merged model says.
  const std::vector<std::string> say = {"--prompt",  "say 3", "--max-tokens", "12",
                                        "--threads", "1",     "--json"};
  const auto chat = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "chat");
    words.insert(words.end(), say.begin(), say.end());
    return world_->run(words);
  };
  const std::string base = *world_ / "base/weights/step_6";
  const auto beside = chat({base, "--adapter", weights + "/lora_adapters"}), whole = chat({weights});
  ASSERT_EQ(beside.code, 0) << beside.err;
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(Json::parse(beside.out)["ids"], Json::parse(whole.out)["ids"]);
  const auto none = chat({base, "--adapter", base});
  EXPECT_EQ(none.code, 2);
  expect_has(none.err, {"is not a directory of adapters"});
  // Two ways to go on, a full run from the merged weights and adapters from the exported ones: every run
  // begins with the same batch, so their first losses are one.
  const auto merged =
      world_->run(world_->sft("merged", {"--model.name", weights, "--max-steps", "1", "--no-ckpt"}));
  ASSERT_EQ(merged.code, 0) << merged.err;
  const auto again = world_->run(
      lora("again", {"--max-steps", "1", "--model.lora.name", weights + "/lora_adapters", "--no-ckpt"}));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NEAR(world_->metrics("again")[0]["loss/mean"].get<double>(),
              world_->metrics("merged")[0]["loss/mean"].get<double>(), 1e-4);
  EXPECT_LT(world_->metrics("again")[0]["loss/mean"].get<double>(), lines[0]["loss/mean"].get<double>());
}

TEST_F(SftLora, ResumedRunEqualsTheUnbrokenOneBitForBit) {
  ASSERT_EQ(world_->run(lora("whole", {"--ckpt.interval", "1", "--max-steps", "6"})).code, 0);
  ASSERT_EQ(world_->run(lora("parts", {"--ckpt.interval", "1", "--max-steps", "6"})).code, 0);
  const auto o =
      world_->run(lora("parts", {"--ckpt.interval", "1", "--max-steps", "6", "--ckpt.resume-step", "2"}));
  ASSERT_EQ(o.code, 0) << o.err;
  for (int s = 3; s <= 6; ++s) EXPECT_EQ(world_->state("parts", s), world_->state("whole", s)) << s;
  // The whole model is not in it: the base is read where it was read before.
  EXPECT_LT(fs::file_size(*world_ / "whole/checkpoints/step_6/trainer/weights.safetensors"),
            fs::file_size(*world_ / "base/checkpoints/step_6/trainer/weights.safetensors"));
  const auto full = world_->run(
      world_->sft("parts", {"--model.name", *world_ / "base/weights/step_6", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(full.code, 2);
  expect_has(full.err, {"is of a run that trained adapters", "no model.lora"});
}

TEST_F(SftLora, BenchCountsAdaptersByTheReferencesFormula) {
  const std::string json = *world_ / "bench.json";
  const auto o =
      world_->run({"sft", "--bench", "--bench.output-json", json, "--model.name", *world_ / "model",
                   "--model.lora.rank", "8", "--data.seq-len", "64", "--data.batch-size", "2"});
  ASSERT_EQ(o.code, 0) << o.err;
  const Json result = Json::parse(slurp(json));
  EXPECT_EQ(result["config"]["lora_rank"], 8);
  EXPECT_GT(result["metrics"]["throughput"]["mean"].get<double>(), 0);
  const auto rl = world_->run({"trainer", "--bench", "--bench.output-json", json, "--model.name",
                               *world_ / "model", "--model.lora.rank", "16", "--model.seq-len", "64"});
  ASSERT_EQ(rl.code, 0) << rl.err;
  EXPECT_EQ(Json::parse(slurp(json))["config"]["lora_rank"], 16);
}

TEST_F(SftLora, WhatCannotBeTrainedIsRefused) {
  const auto refused = [&](std::vector<std::string> more, const std::vector<std::string>& parts) {
    more.insert(more.end(), {"--device", "cpu"});
    world_->expect_refused(lora("refused", more), "refused", parts);
  };
  refused({"--model.lora.target-modules", "[\"q_proj\", \"lm_head\"]"},
          {"\"lm_head\", which cannot have", "q_proj"});
  refused({"--model.lora.target-modules", "[\".*_proj\"]"},
          {"the pattern \".*_proj\"", "patterns are not supported"});
  refused({"--model.lora.target-modules", "[]"}, {"target_modules is empty"});
  refused({"--model.lora.modules-to-save", "[\"lm_head\"]"},
          {"modules_to_save = [lm_head] is not supported"});
  refused({"--model.lora.dropout", "0.1"}, {"dropout = 0.1", "exact"});
  refused({"--model.lora.rank", "0"}, {"model.lora.rank"});
  refused({"--model.lora.name", *world_ / "model"}, {"is not a directory of adapters"});
}

}  // namespace
}  // namespace rlcpp::test
