// model.name and data.name as ids of a hub, which is on this machine.
#include "local_hub.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

class HubRun : public LocalHub {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    const auto o = world_->run(world_->sft("trained"));
    EXPECT_EQ(o.code, 0) << o.err;
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  HubRun() {
    const std::string model = *world_ / "trained/weights/step_6";
    for (const char* name :
         {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
      server_.file("org/tiny", name, slurp(model + "/" + name));
    server_.file("org/tiny", "model.safetensors", slurp(model + "/model.safetensors"), true);
    server_.file("org/rows", "main/train-00000-of-00001.jsonl", slurp(*world_ / "train.jsonl"), true);
    server_.file("org/rows", "main/validation.jsonl", slurp(*world_ / "validation.jsonl"));
    server_.file("org/rows", "other/train.parquet", "PAR1");
  }
  static SftWorld* world_;
};
SftWorld* HubRun::world_ = nullptr;

TEST_F(HubRun, SftTakesModelAndDataByTheirIds) {
  const std::vector<std::string> words = {"--model.name",       "org/tiny", "--tokenizer.name", "org/tiny",
                                          "--data.name",        "org/rows", "--data.subsets",   "main",
                                          "--val.data.subsets", "main",     "--clean"};
  const auto local =
      world_->run(world_->sft("local", {"--model.name", *world_ / "trained/weights/step_6", "--val"}));
  ASSERT_EQ(local.code, 0) << local.err;
  const auto o = world_->run(world_->sft("ids", words));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(world_->state("ids", 6), world_->state("local", 6));  // the same bytes as from directories
  EXPECT_TRUE(std::filesystem::exists(dir_ / "hf/hub/models--org--tiny/refs/main"));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "hf/hub/datasets--org--rows/refs/main"));
  EXPECT_EQ(server_.count("parquet"), 0);
  // From then on nobody is asked.
  const std::size_t asked = server_.requests().size();
  setenv("HF_HUB_OFFLINE", "1", 1);
  const auto again = world_->run(world_->sft("again", words));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(world_->state("again", 6), world_->state("ids", 6));
  EXPECT_EQ(server_.requests().size(), asked);
}

TEST_F(HubRun, ShapesAndTokenizerNeedNoWeights) {
  const auto o = world_->run(world_->sft(
      "scratch", {"--model.name", "org/tiny", "--tokenizer.name", "org/tiny", "--model.debug.random-init"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(server_.count("model.safetensors"), 0);
}

TEST_F(HubRun, ATokenComesFromTheVariableOrTheFile) {
  server_.require_token("hf_secret");
  const std::vector<std::string> words = {"chat", "org/tiny", "--prompt", "say 1", "--max-tokens", "1"};
  const auto without = world_->run(words);
  EXPECT_EQ(without.code, 2) << without.err;
  expect_has(without.err, {"model.name = \"org/tiny\"", "401", "HF_TOKEN"});
  std::filesystem::create_directories(dir_ / "hf");
  std::ofstream(dir_ / "hf/token") << "hf_secret\n";
  EXPECT_EQ(world_->run(words).code, 0);
  std::filesystem::remove_all(dir_ / "hf");
  setenv("HF_TOKEN", "hf_secret", 1);
  EXPECT_EQ(world_->run(words).code, 0);
}

TEST_F(HubRun, RefusesInOneSentence) {
  world_->expect_refused(world_->sft("no", {"--model.name", "org/absent"}), "no",
                         {"model.name = \"org/absent\" is no path here", "the hub has no org/absent"});
  world_->expect_refused(world_->sft("no", {"--data.name", "org/rows", "--data.subsets", "other"}), "no",
                         {"no Parquet file", "download or write it again"});
  world_->expect_refused(world_->sft("no", {"--data.name", "org/rows", "--data.splits", "holdout"}), "no",
                         {"no split \"holdout\"", "main/train-00000-of-00001.jsonl"});
}

}  // namespace
}  // namespace rlcpp::test
