// `rlcpp trainer` and `rlcpp orchestrator` on the world of rl_run.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "rl_run.h"

namespace rlcpp::test {

inline std::vector<std::string> plus(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// The tests of all files share one world, and what `rlcpp rl` makes of it.
class Pair : public ::testing::Test {
 protected:
  using Words = std::vector<std::string>;
  using Json = nlohmann::json;

  static void SetUpTestSuite() {
    world_ = new RlWorld;
    // What rl.toml says, in the keys of the two commands.
    world_->file("orch.toml", fmt::format(R"(
max_steps = 5
threads = 1
device = "cpu"
model.name = "{0}/base/weights/step_60"
max_async_level = 0
batch_size = 16
rollouts_per_example = 4
seq_len = 40
row_tokens = 128
weight_broadcast.timeout = 60
[sampling]
max_tokens = 10
stop = ["</reversed_text>"]
[save_rollouts]
tokens = true
[[env]]
id = "reverse-text"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[inference]
max_sequences = 8
max_batch_tokens = 64
page_size = 4
)",
                                          world_->dir().path()));
    world_->file("trainer.toml", fmt::format(R"(
max_steps = 5
threads = 1
device = "cpu"
max_async_level = 0
rollout_transport.timeout = 60
[model]
name = "{0}/base/weights/step_60"
seq_len = 128
[optim]
lr = 2e-3
[scheduler]
warmup_steps = 0
)",
                                             world_->dir().path()));
    // Everything whose state a resumed run must find again, as in all.toml.
    world_->file("orch-all.toml", fmt::format(R"(
oversampling_factor = 2.0
rollouts_per_example = 2
[buffer]
online_difficulty_filtering = true
hard_threshold = 0.15
easy_threshold = 0.5
[[env]]
id = "reverse-text"
name = "first"
args = {{ data = "{0}/prompts.jsonl", system_prompt = "None" }}
[[env]]
id = "reverse-text"
name = "second"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[val]
num_examples = 6
interval = 2
[[val.env]]
id = "reverse-text"
args = {{ data = "{0}/more.jsonl", system_prompt = "None" }}
[inference]
max_sequences = 64
max_batch_tokens = 24
)",
                                              world_->dir().path()));
    world_->file("trainer-all.toml", "[scheduler]\ntype = \"cosine\"\nwarmup_steps = 2\n");
    EXPECT_EQ(world_->run(world_->rl("one")).code, 0);
    EXPECT_EQ(world_->run(world_->rl("one-all", {"@", *world_ / "all.toml", "--max-steps", "6"})).code, 0);
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }

  static Words trainer(const std::string& out, const Words& more = {}) {
    return plus({"trainer", "@", *world_ / "trainer.toml", "--output-dir", *world_ / out}, more);
  }
  static Words orchestrator(const std::string& out, const Words& more = {}) {
    return plus(
        {"orchestrator", "@", *world_ / "orch.toml", "--output-dir", *world_ / (out + "/run_default")}, more);
  }
  struct Running {
    pid_t pid = 0;
    std::string out, err;
    int wait() const { return RlWorld::wait_for(pid); }
    std::string errors() const { return slurp(err); }
  };
  static Running start(const Words& words) {
    static int number = 0;
    const std::string name = *world_ / fmt::format("process{}", ++number);
    Running r{0, name + ".out", name + ".err"};
    r.pid = world_->start(words, r.out, r.err);
    return r;
  }
  static void expect_both(const Running& t, const Running& o) {
    EXPECT_EQ(o.wait(), 0) << o.errors();
    EXPECT_EQ(t.wait(), 0) << t.errors();
  }

  // The lines of the pair and of one process say the same, each in its part; so do state and weights.
  static void expect_is(const std::string& pair, const std::string& one, int steps) {
    SCOPED_TRACE(pair + " and " + one);
    EXPECT_EQ(world_->state(pair, steps), world_->state(one, steps));
    const std::string weights = fmt::format("/weights/step_{}/model.safetensors", steps);
    EXPECT_EQ(slurp(*world_ / (pair + weights)), slurp(*world_ / (one + weights)));
    std::map<int, Json> whole;
    for (const Json& line : world_->lasting_metrics(one)) whole[line["step"].get<int>()] = line;
    std::map<std::string, int> compared;
    for (const std::string& part : {pair, pair + "/run_default"}) {
      std::map<int, int> lines;
      for (const Json& line : world_->lasting_metrics(part)) {
        const int step = line["step"].get<int>();
        EXPECT_EQ(++lines[step], 1) << part << step;
        if (step > steps) continue;
        ASSERT_TRUE(whole.contains(step)) << part << step;
        for (const auto& [key, value] : line.items()) {
          if (key == "producer") continue;
          EXPECT_EQ(whole[step].value(key, Json()), value) << part << " step " << step << " " << key;
          ++compared[key.substr(0, key.find('/'))];
        }
      }
      for (int step = 1; step <= steps; ++step) EXPECT_EQ(lines[step], 1) << part << step;
    }
    for (const char* family : {"reward", "loss", "entropy", "mismatch_kl", "optim", "batch", "progress"})
      EXPECT_GE(compared[family], steps) << family;
    for (int step = 1; step <= steps; ++step) {
      const std::string name = fmt::format("/rollouts/step_{}.jsonl", step);
      EXPECT_EQ(slurp(*world_ / (pair + "/run_default" + name)), slurp(*world_ / (one + name))) << name;
    }
  }

  inline static RlWorld* world_ = nullptr;
};

}  // namespace rlcpp::test
