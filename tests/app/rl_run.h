// A tiny world for `rlcpp rl`: a model that has learned the form of an answer, so that rewards differ.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/rng.h"
#include "world.h"

namespace rlcpp::test {

class RlWorld : public World {
 public:
  RlWorld() {
    Rng rng(1);
    const auto phrase = [&rng] {
      std::string text;
      for (std::uint64_t i = 2 + rng.below(4); i > 0; --i) text += static_cast<char>('a' + rng.below(4));
      return text;
    };
    std::string sft, prompts, more;
    for (int i = 0; i < 200; ++i) {
      const std::string text = phrase();
      sft += fmt::format(R"({{"prompt": "{}", "completion": "<reversed_text>{}</reversed_text>"}})", text,
                         std::string(text.rbegin(), text.rend()));
      sft += "\n";
    }
    for (int i = 0; i < 200; ++i) (i < 150 ? prompts : more) += "{\"prompt\": \"" + phrase() + "\"}\n";
    file("sft/train.jsonl", sft);
    file("prompts.jsonl", prompts);
    file("more.jsonl", more);
    file("model/config.json", kTinyModel);
    auto made = run({"tokenize", "train", "--data", *this / "sft/train.jsonl", "--vocab-size", "300", "--out",
                     *this / "tokenizer"});
    EXPECT_EQ(made.code, 0) << made.err;
    made = run({"sft", "--model.name", *this / "model", "--tokenizer.name", *this / "tokenizer",
                "--data.name", *this / "sft", "--data.batch-size", "16", "--data.seq-len", "64", "--optim.lr",
                "2e-2", "--threads", "1", "--max-steps", "60", "--output-dir", *this / "base"});
    EXPECT_EQ(made.code, 0) << made.err;
    file("rl.toml", fmt::format(R"(
max_steps = 5
threads = 1
device = "cpu"
model.name = "{0}/base/weights/step_60"
[orchestrator]
batch_size = 16
rollouts_per_example = 4
seq_len = 40
[orchestrator.sampling]
max_tokens = 10
stop = ["</reversed_text>"]
[orchestrator.save_rollouts]
tokens = true
[[orchestrator.env]]
id = "reverse-text"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[trainer.model]
seq_len = 128
[trainer.optim]
lr = 2e-3
[trainer.scheduler]
warmup_steps = 0
[inference]
max_sequences = 8
max_batch_tokens = 64
page_size = 4
)",
                                dir().path()));
    // Everything whose state a resumed run must find again: two environments, pools, filtered groups,
    // groups in flight that are cancelled, a schedule, validation in between.
    file("all.toml", fmt::format(R"(
[orchestrator]
oversampling_factor = 2.0
rollouts_per_example = 2
[orchestrator.buffer]
online_difficulty_filtering = true
hard_threshold = 0.15
easy_threshold = 0.5
[[orchestrator.env]]
id = "reverse-text"
name = "first"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[[orchestrator.env]]
id = "reverse-text"
name = "second"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[orchestrator.val]
num_examples = 6
interval = 2
[[orchestrator.val.env]]
id = "reverse-text"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[inference]
max_sequences = 64
max_batch_tokens = 24
[trainer.scheduler]
type = "cosine"
warmup_steps = 2
)",
                                 dir().path()));
  }

  // `rlcpp rl` on this world, 5 steps into <dir>/<out>; later arguments win over these.
  std::vector<std::string> rl(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"rl", "@", *this / "rl.toml", "--output-dir", *this / out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Lines of metrics.jsonl without what a clock or the process decides.
  std::vector<nlohmann::json> lasting_metrics(const std::string& out) const {
    std::vector<nlohmann::json> all;
    for (const nlohmann::json& line : metrics(out)) {
      nlohmann::json kept;
      for (const auto& [key, value] : line.items()) {
        const bool clock = key.starts_with("time") || key.starts_with("generation_ms/") ||
                           key.starts_with("scoring_ms/") || key.starts_with("system/");
        if (!clock && !key.starts_with("perf/")) kept[key] = value;
      }
      all.push_back(std::move(kept));
    }
    return all;
  }

  // File names and bytes of rollouts/.
  std::map<std::string, std::string> rollouts(const std::string& out) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(*this / (out + "/rollouts")))
      all[entry.path().filename().string()] = slurp(entry.path().string());
    return all;
  }

  // Every bit that a run leaves at `step` and on the way there.
  void expect_same_run(const std::string& got, const std::string& expected, int step) const {
    SCOPED_TRACE(got + " and " + expected);
    expect_same_state(got, expected, step);
    EXPECT_EQ(lasting_metrics(got), lasting_metrics(expected));
    const auto a = rollouts(got), b = rollouts(expected);
    EXPECT_EQ(a.size(), b.size());
    for (const auto& [name, text] : b) EXPECT_TRUE(a.contains(name) && a.at(name) == text) << name;
    const std::string weights = fmt::format("/weights/step_{}/model.safetensors", step);
    EXPECT_EQ(slurp(*this / (got + weights)), slurp(*this / (expected + weights)));
  }
  // Weights, moments, and everything else a checkpoint holds.
  void expect_same_state(const std::string& got, const std::string& expected, int step) const {
    EXPECT_EQ(state(got, step), state(expected, step)) << "step " << step;
    const std::string rest = fmt::format("/checkpoints/step_{}/trainer/state.json", step);
    EXPECT_FALSE(slurp(*this / (expected + rest)).empty());
    EXPECT_EQ(slurp(*this / (got + rest)), slurp(*this / (expected + rest)));
  }
};

// The tests of all files share one world: making it takes longer than most of them.
class Rl : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new RlWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  inline static RlWorld* world_ = nullptr;
};

}  // namespace rlcpp::test
