#include "train/checkpoint.h"

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/failpoint.h"
#include "hub/safetensors.h"
#include "run.h"

namespace rlcpp::train {
namespace {

namespace fs = std::filesystem;

std::vector<std::vector<data::MicroBatch>> batches_of(std::uint64_t seed, int steps) {
  Rng rng(seed, 77);
  std::vector<std::vector<data::MicroBatch>> out;
  for (int i = 0; i < steps; ++i) out.push_back(random_rows(rng, 2));
  return out;
}

CheckpointContent content_of(const TinyRun& run, const std::string& extra = "{}") {
  CheckpointContent c;
  c.progress = {run.trainer->steps_done(), 100 * run.trainer->steps_done(), 7 * run.trainer->steps_done()};
  c.config_hash = "0badcafe";
  c.extra = extra;
  return c;
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kBadInput);
    return std::string(e.what()) + " | " + e.because();
  }
}

class Checkpoint : public ::testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }
  test::TemporaryDirectory dir_;
  std::string root_ = dir_ / "checkpoints";
  durable::FileLayer& files_ = durable::system_files();
};

TEST_F(Checkpoint, ResumeIsBitEqualFromEveryStep) {
  const auto seed = test::fresh_seed();
  for (const bool tied : {true, false}) {
    const std::string root = root_ + (tied ? "-tied" : "");
    auto options = plain_options();
    options.scheduler = {"cosine", 2, 0, 1e-4};
    options.max_steps = 6;
    const auto batches = batches_of(seed, 6);
    TinyRun whole(options, seed, 1, tied);
    std::vector<std::vector<float>> weights;
    std::vector<double> losses;
    for (int step = 0; step < 6; ++step) {
      losses.push_back(whole.trainer->step(batches[static_cast<std::size_t>(step)]).loss);
      weights.push_back(whole.all_weights());
      save_checkpoint(files_, root, "run1", *whole.trainer,
                      content_of(whole, R"({"data": {"position": 5}})"));
    }
    for (int from = 1; from < 6; ++from) {
      TinyRun resumed(options, seed + 1, 2, tied);  // other weights, which the checkpoint replaces
      const Restored restored = load_checkpoint(step_directory(root, from), *resumed.trainer);
      EXPECT_EQ(restored.progress.step, from);
      EXPECT_EQ(restored.progress.total_tokens, 100 * from);
      EXPECT_EQ(restored.progress.total_samples, 7 * from);
      EXPECT_EQ(restored.config_hash, "0badcafe");
      EXPECT_EQ(nlohmann::json::parse(restored.extra)["data"]["position"], 5);
      EXPECT_EQ(resumed.all_weights(), weights[static_cast<std::size_t>(from - 1)]);
      for (int step = from; step < 6; ++step) {
        EXPECT_EQ(resumed.trainer->step(batches[static_cast<std::size_t>(step)]).loss,
                  losses[static_cast<std::size_t>(step)]);
        ASSERT_EQ(resumed.all_weights(), weights[static_cast<std::size_t>(step)])
            << "from " << from << " step " << step;
      }
      EXPECT_EQ(resumed.second_moments(), whole.second_moments());
    }
  }
}

TEST_F(Checkpoint, LayoutAndFurtherFiles) {
  TinyRun run(plain_options(), 1);
  run.trainer->step(batches_of(1, 1)[0]);
  auto content = content_of(run);
  content.files.push_back({"orchestrator/buffer.jsonl", "{}\n"});
  save_checkpoint(files_, root_, "run1", *run.trainer, content);
  const std::string step = root_ + "/step_1";
  EXPECT_EQ(step_directory(root_, 1), step);
  for (const char* name :
       {"trainer/weights.safetensors", "trainer/exp_avg.safetensors", "trainer/exp_avg_sq.safetensors",
        "trainer/state.json", "orchestrator/buffer.jsonl", "manifest.json"}) {
    EXPECT_TRUE(fs::is_regular_file(step + "/" + name)) << name;
  }
  const auto facts = nlohmann::json::parse(durable::verify_directory(step));
  EXPECT_EQ(facts["step"], 1);
  EXPECT_EQ(facts["config_hash"], "0badcafe");
  EXPECT_EQ(durable::read_file(root_ + "/latest"), "step_1\n");
  const hub::SafetensorsFile weights(step + "/trainer/weights.safetensors");
  ASSERT_TRUE(weights.tensors().contains("model.layers.1.self_attn.k_proj.weight"));
  EXPECT_EQ(weights.tensors().at("model.layers.1.self_attn.k_proj.weight").shape,
            (std::vector<std::int64_t>{8, 24}));
  EXPECT_TRUE(weights.tensors().contains("model.norm.weight"));
  EXPECT_FALSE(weights.tensors().contains("lm_head.weight"));
}

TEST_F(Checkpoint, SavingAStepAgainKeepsTheVerifiedOneAndReplacesADamagedOne) {
  TinyRun run(plain_options(), 1);
  run.trainer->step(batches_of(1, 1)[0]);
  save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  const auto before = durable::read_file(root_ + "/step_1/manifest.json");
  save_checkpoint(files_, root_, "run2", *run.trainer, content_of(run));
  EXPECT_EQ(durable::read_file(root_ + "/step_1/manifest.json"), before);
  fs::resize_file(root_ + "/step_1/trainer/exp_avg.safetensors", 100);
  EXPECT_THROW(durable::verify_directory(root_ + "/step_1"), Error);
  save_checkpoint(files_, root_, "run2", *run.trainer, content_of(run));
  EXPECT_NO_THROW(durable::verify_directory(root_ + "/step_1"));
}

TEST_F(Checkpoint, EveryFlippedByteIsFound) {
  TinyRun run(plain_options(), 1);
  run.trainer->step(batches_of(1, 1)[0]);
  save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  const auto weights = run.all_weights();
  Rng rng(test::fresh_seed());
  for (const char* name :
       {"trainer/weights.safetensors", "trainer/exp_avg.safetensors", "trainer/state.json"}) {
    const std::string path = root_ + "/step_1/" + name;
    const std::string good = durable::read_file(path);
    for (int round = 0; round < 8; ++round) {
      std::string bad = good;
      const auto at = rng.below(bad.size());
      bad[at] = static_cast<char>(bad[at] ^ static_cast<char>(1U << rng.below(8)));
      std::ofstream(path, std::ios::binary) << bad;
      EXPECT_NE(refusal([&] { load_checkpoint(root_ + "/step_1", *run.trainer); }).find(name),
                std::string::npos);
    }
    std::ofstream(path, std::ios::binary) << good;
  }
  // A load that failed half way leaves nothing that the next one does not replace.
  load_checkpoint(root_ + "/step_1", *run.trainer);
  EXPECT_EQ(run.all_weights(), weights);
}

TEST_F(Checkpoint, AnotherModelIsRefusedByTensorAndShape) {
  TinyRun untied(plain_options(), 1, 1, false), tied(plain_options(), 1, 1, true);
  untied.trainer->step(batches_of(1, 1)[0]);
  tied.trainer->step(batches_of(1, 1)[0]);
  save_checkpoint(files_, root_, "run1", *untied.trainer, content_of(untied));
  save_checkpoint(files_, root_ + "2", "run1", *tied.trainer, content_of(tied));
  EXPECT_NE(refusal([&] { load_checkpoint(root_ + "/step_1", *tied.trainer); }).find("does not have"),
            std::string::npos);
  EXPECT_NE(refusal([&] {
              load_checkpoint(root_ + "2/step_1", *untied.trainer);
            }).find("lm_head.weight is missing"),
            std::string::npos);
}

TEST_F(Checkpoint, ResumeStepIsFoundOrRefusedWithWhatExists) {
  TinyRun run(plain_options(), 1);
  EXPECT_NE(refusal([&] { resolve_resume_step(root_, 7, nullptr); }).find("there is none at all"),
            std::string::npos);
  EXPECT_NE(refusal([&] { resolve_resume_step(root_, -1, nullptr); }).find("no checkpoint to resume"),
            std::string::npos);
  const auto batches = batches_of(1, 3);
  for (const auto& batch : batches) {
    run.trainer->step(batch);
    save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  }
  EXPECT_EQ(resolve_resume_step(root_, -1, nullptr), 3);
  EXPECT_EQ(resolve_resume_step(root_, 2, nullptr), 2);
  EXPECT_NE(refusal([&] { resolve_resume_step(root_, 7, nullptr); }).find("steps: 1, 2, 3"),
            std::string::npos);
  // The newest is damaged: it is passed over, with the reason.
  fs::resize_file(root_ + "/step_3/trainer/weights.safetensors", 64);
  std::vector<std::string> skipped;
  EXPECT_EQ(resolve_resume_step(root_, -1, &skipped), 2);
  ASSERT_EQ(skipped.size(), 1U);
  EXPECT_NE(skipped[0].find("step_3"), std::string::npos);
}

TEST_F(Checkpoint, AFailedSaveLeavesTheOlderOne) {
  TinyRun run(plain_options(), 1);
  const auto batches = batches_of(1, 2);
  run.trainer->step(batches[0]);
  save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  run.trainer->step(batches[1]);
  failpoint::arm("checkpoint.before_commit=error");
  EXPECT_THROW(save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run)), Error);
  EXPECT_EQ(resolve_resume_step(root_, -1, nullptr), 1);
  failpoint::disarm_all();
  save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  EXPECT_EQ(resolve_resume_step(root_, -1, nullptr), 2);
}

TEST_F(Checkpoint, PruningKeepsTheLastTheMultiplesAndTheNewestVerified) {
  TinyRun run(plain_options(), 1);
  const auto batches = batches_of(1, 6);
  for (const auto& batch : batches) {
    run.trainer->step(batch);
    save_checkpoint(files_, root_, "run1", *run.trainer, content_of(run));
  }
  EXPECT_TRUE(prune_checkpoints(files_, root_, std::nullopt, std::nullopt, 6).empty());
  EXPECT_EQ(prune_checkpoints(files_, root_, 2, 3, 6), (std::vector<std::int64_t>{1, 2, 4}));
  EXPECT_EQ(durable::committed_steps(root_, nullptr), (std::vector<std::int64_t>{3, 5, 6}));
  // Steps 5 and 6 have lost bytes inside: sizes fit, checksums do not. Step 3 is the newest good one and
  // stays.
  for (const char* name : {"/step_5", "/step_6"}) {
    const std::string path = root_ + name + "/trainer/weights.safetensors";
    std::string text = durable::read_file(path);
    text[text.size() - 3] ^= 1;
    std::ofstream(path, std::ios::binary) << text;
  }
  EXPECT_EQ(prune_checkpoints(files_, root_, 1, std::nullopt, 6), (std::vector<std::int64_t>{5}));
  EXPECT_EQ(resolve_resume_step(root_, -1, nullptr), 3);
}

}  // namespace
}  // namespace rlcpp::train
