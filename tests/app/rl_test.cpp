// `rlcpp rl` as a user meets it, on a tiny model.
#include <cmath>
#include <numeric>
#include <set>

#include "rl_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

TEST_F(Rl, ARunLeavesItsRecords) {
  const auto o = world_->run(
      world_->rl("records", {"@", *world_ / "all.toml", "--ckpt.interval", "2", "--max-steps", "5"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"RL finished", "steps", "reward", "validation reward", "entropy", "mismatch KL",
                     "0 at most", "next:", "--ckpt.resume-step -1 --max-steps 10"});
  expect_has(o.err, {"numeric mode exact", "step 1/5  reward ", "kl 0 ", "ent ", "trunc ",
                     "step 5/5  validation reward", "saved step 5"});
  for (const char* name :
       {"configs/resolved.toml", "logs/rl.log", "curves.svg", "checkpoints/latest",
        "checkpoints/step_2/manifest.json", "checkpoints/step_5/trainer/state.json",
        "weights/step_4/model.safetensors", "weights/step_5/tokenizer.json", "rollouts/step_1.jsonl",
        "rollouts/step_5.jsonl", "rollouts/val_step_0.jsonl", "rollouts/val_step_4.jsonl"}) {
    EXPECT_TRUE(fs::exists(*world_ / (std::string("records/") + name))) << name;
  }
  EXPECT_FALSE(fs::is_empty(*world_ / "records/tensorboard"));
  const auto lines = world_->metrics("records");
  ASSERT_EQ(lines.size(), 6U);  // step 0 is the validation before the first
  EXPECT_EQ(lines[0]["step"], 0);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"], i);
    EXPECT_EQ(lines[i]["producer"], "rl");
    EXPECT_EQ(lines[i].contains("val_reward/mean"), i % 2 == 0 || i == 5);
    for (const char* key : {"reward/mean",
                            "reward/first",
                            "reward/second",
                            "metrics/lcs_reward_func",
                            "seq_len/mean",
                            "prompt_len/mean",
                            "completion_len/mean",
                            "is_truncated/mean",
                            "batch/solve_none",
                            "batch/solve_all",
                            "batch/async_level",
                            "batch/off_policy_level/max",
                            "batch/cancelled_rollouts",
                            "progress/tokens",
                            "progress/total_samples",
                            "progress/ckpt_step",
                            "loss/mean",
                            "loss/median",
                            "loss/std",
                            "loss/nan_count",
                            "optim/lr",
                            "optim/grad_norm",
                            "entropy/mean",
                            "mismatch_kl/mean",
                            "is_masked/mean",
                            "time/step",
                            "time/generate_completions",
                            "time/forward_backward",
                            "time/save_ckpt",
                            "time/wait_for_batch",
                            "time/load_data",
                            "time/broadcast_weights",
                            "time/waiting",
                            "generation_ms/mean",
                            "scoring_ms/mean",
                            "num_turns/mean",
                            "system/ckpt_disk_free_ratio",
                            "perf/throughput",
                            "perf/throughput_per_gpu"}) {
      EXPECT_TRUE(lines[i].contains(key) && lines[i][key].is_number()) << key << " of " << lines[i];
    }
    EXPECT_GT(lines[i]["optim/grad_norm"].get<double>(), 0);
    // The split of a step is all of it.
    double split = 0;
    for (const char* part :
         {"time/generate_completions", "time/forward_backward", "time/broadcast_weights", "time/waiting"}) {
      EXPECT_GE(lines[i][part].get<double>(), 0) << part;
      split += lines[i][part].get<double>();
    }
    EXPECT_NEAR(split, lines[i]["time/step"].get<double>(), 1e-6);
    EXPECT_GT(lines[i]["time/generate_completions"].get<double>(), 0);
    EXPECT_GT(lines[i]["time/forward_backward"].get<double>(), 0);
  }
}

// Engine and trainer agree on every token, in every step, with whatever temperature.
TEST_F(Rl, MismatchIsZeroInEveryStep) {
  for (const char* temperature : {"1.0", "0.7", "1.3"}) {
    const std::string out = std::string("kl") + temperature;
    const auto o = world_->run(world_->rl(out, {"--orchestrator.sampling.temperature", temperature}));
    ASSERT_EQ(o.code, 0) << o.err;
    const auto lines = world_->metrics(out);
    ASSERT_EQ(lines.size(), 5U);
    for (const Json& line : lines) {
      for (const char* of : {"mismatch_kl", "masked_mismatch_kl", "unmasked_mismatch_kl"}) {
        for (const char* what : {"mean", "median", "std", "min", "max"})
          EXPECT_EQ(line.at(fmt::format("{}/{}", of, what)), 0.0) << of << what;
      }
      EXPECT_EQ(line.at("mismatch/max_abs_logprob"), 0.0);
      EXPECT_EQ(line.at("is_masked/max"), 0.0);
      EXPECT_EQ(line.at("trainer_probs/mean"), line.at("inference_probs/mean"));
      EXPECT_LT(line.at("trainer_probs/min"), 1.0);
    }
  }
}

// The same with adapters: the engine reads the trainer's.
TEST_F(Rl, MismatchIsZeroWithLora) {
  const auto o =
      world_->run(world_->rl("lora", {"--trainer.model.lora.rank", "8", "--trainer.optim.lr", "1e-2"}));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"LoRA rank 8 on q,k,v,o,gate,up,down"});
  const auto lines = world_->metrics("lora");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) {
    EXPECT_EQ(line.at("mismatch_kl/max"), 0.0);
    EXPECT_EQ(line.at("mismatch/max_abs_logprob"), 0.0);
    EXPECT_GT(line.at("optim/grad_norm"), 0.0);
  }
  EXPECT_TRUE(fs::exists(*world_ / "lora/weights/step_5/lora_adapters/adapter_model.safetensors"));
  const auto dropout = world_->run(world_->rl("dropout", {"--trainer.model.lora.dropout", "0.1"}));
  EXPECT_EQ(dropout.code, 2);
  expect_has(dropout.err, {"dropout = 0.1"});
}

TEST_F(Rl, RolloutLinesHaveTheDocumentedFields) {
  const auto o = world_->run(world_->rl("rollouts", {"--max-steps", "3"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto metrics = world_->metrics("rollouts");
  std::set<std::int64_t> ids;
  for (int step = 1; step <= 3; ++step) {
    const auto lines = world_->lines(fmt::format("rollouts/rollouts/step_{}.jsonl", step));
    ASSERT_EQ(lines.size(), 16U);
    std::map<std::int64_t, double> advantages;
    double rewards = 0, lengths = 0, probabilities = 0;
    for (const Json& line : lines) {
      std::set<std::string> keys;
      for (const auto& [key, value] : line.items()) keys.insert(key);
      EXPECT_EQ(keys, (std::set<std::string>{"id",         "step",       "group",          "sample",
                                             "env",        "example_id", "prompt",         "answer",
                                             "completion", "reward",     "advantage",      "parts",
                                             "finish",     "truncated",  "prompt_len",     "completion_len",
                                             "version",    "prompt_ids", "completion_ids", "logprobs",
                                             "num_turns"}));
      EXPECT_TRUE(ids.insert(line["id"].get<std::int64_t>()).second);
      EXPECT_EQ(line["step"], step);
      EXPECT_EQ(line["id"], line["group"].get<int>() * 4 + line["sample"].get<int>());
      EXPECT_EQ(line["env"], "reverse-text");
      const std::string prompt = line["prompt"].at(0)["content"];
      EXPECT_EQ(line["prompt"].at(0)["role"], "user");
      EXPECT_EQ(line["answer"], std::string(prompt.rbegin(), prompt.rend()));
      EXPECT_EQ(line["parts"]["lcs_reward_func"], line["reward"]);
      EXPECT_TRUE(line["finish"] == "stop" || line["finish"] == "length");
      EXPECT_EQ(line["truncated"], line["finish"] == "length");
      EXPECT_EQ(line["prompt_ids"].size(), line["prompt_len"]);
      EXPECT_EQ(line["completion_ids"].size(), line["completion_len"]);
      EXPECT_EQ(line["logprobs"].size(), line["completion_len"]);
      EXPECT_EQ(line["version"], Json::array({step - 1, step - 1}));
      for (const Json& logprob : line["logprobs"]) {
        EXPECT_LE(logprob.get<double>(), 0);
        probabilities += std::exp(logprob.get<double>());
      }
      advantages[line["group"].get<std::int64_t>()] += line["advantage"].get<double>();
      rewards += line["reward"].get<double>();
      lengths += line["completion_len"].get<double>();
    }
    EXPECT_EQ(advantages.size(), 4U);
    for (const auto& [group, sum] : advantages) EXPECT_NEAR(sum, 0, 1e-12) << group;
    const Json& line = metrics.at(static_cast<std::size_t>(step) - 1);
    EXPECT_NEAR(line["reward/mean"].get<double>(), rewards / 16, 1e-12);
    EXPECT_GT(rewards, 0);
    EXPECT_NEAR(line["inference_probs/mean"].get<double>(), probabilities / lengths, 1e-6);
  }
  // Without tokens, and only some of them.
  const auto fewer = world_->run(world_->rl(
      "fewer", {"--no-orchestrator.save-rollouts.tokens", "--max-steps", "2",
                "--orchestrator.save-rollouts.groups", "1", "--orchestrator.save-rollouts.interval", "2"}));
  ASSERT_EQ(fewer.code, 0) << fewer.err;
  EXPECT_FALSE(fs::exists(*world_ / "fewer/rollouts/step_1.jsonl"));
  const auto lines = world_->lines("fewer/rollouts/step_2.jsonl");
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_FALSE(lines[0].contains("completion_ids") || lines[0].contains("logprobs"));
}

TEST_F(Rl, SameSeedSameBitsWhateverTheThreadsAndTheEngine) {
  const std::vector<std::string> larger = {"--orchestrator.batch-size", "64", "--max-steps", "4"};
  const auto run = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.end(), larger.begin(), larger.end());
    const auto o = world_->run(world_->rl(out, more));
    ASSERT_EQ(o.code, 0) << o.err;
  };
  run("same", {});
  run("again", {});
  run("threads2", {"--threads", "2"});
  run("threads5", {"--threads", "5"});
  run("engine", {"--inference.max-sequences", "64", "--inference.max-batch-tokens", "2048",
                 "--inference.page-size", "16"});
  run("narrow", {"--inference.max-sequences", "3", "--inference.max-batch-tokens", "7",
                 "--inference.page-size", "1", "--inference.num-pages", "60", "--threads", "2"});
  run("watched", {"--ckpt.interval", "2", "--log.level", "debug"});
  for (const char* other : {"again", "threads2", "threads5", "engine", "narrow", "watched"})
    world_->expect_same_run(other, "same", 4);
  EXPECT_FALSE(slurp(*world_ / "same/weights/step_4/model.safetensors").empty());
  run("recomputed", {"--trainer.model.ac"});
  EXPECT_EQ(world_->state("recomputed", 4), world_->state("same", 4));
  run("seed", {"--seed", "1"});
  run("orchestrator-seed", {"--orchestrator.seed", "1"});
  EXPECT_NE(world_->state("seed", 4), world_->state("same", 4));
  EXPECT_NE(world_->state("orchestrator-seed", 4), world_->state("same", 4));
  EXPECT_NE(world_->state("seed", 4), world_->state("orchestrator-seed", 4));
}

// The same once more with filters, groups that are cancelled and two environments; and looking at a policy
// does not change it.
TEST_F(Rl, SameSeedSameBitsWithFiltersAndValidationChangesNothing) {
  const std::string all = *world_ / "all.toml";
  const auto run = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), {"@", all, "--max-steps", "8"});
    const auto o = world_->run(world_->rl(out, more));
    ASSERT_EQ(o.code, 0) << o.err;
  };
  run("filters", {});
  run("filters2", {"--threads", "3"});
  run("validated", {"--orchestrator.val.interval", "1", "--orchestrator.val.num-examples", "12"});
  run("unwatched", {"--no-orchestrator.val"});
  world_->expect_same_run("filters2", "filters", 8);
  double cancelled = 0, dropped = 0;
  for (const Json& line : world_->metrics("filters")) {
    cancelled += line.value("batch/cancelled_rollouts", 0.0);
    dropped += line.value("batch/dropped_groups", 0.0);
  }
  EXPECT_GT(cancelled, 0);
  EXPECT_GT(dropped, 0);
  world_->expect_same_state("validated", "filters", 8);
  world_->expect_same_state("unwatched", "filters", 8);
}

TEST_F(Rl, ANonFiniteGradientIsSkippedThenStopsTheRun) {
  const auto once = world_->run(world_->rl("nan1", {"--fail", "train.gradient=nan:3"}));
  EXPECT_EQ(once.code, 0) << once.err;
  expect_has(once.err, {"step 3/5  skipped"});
  expect_has(once.out, {"steps skipped", "1 (not finite)"});
  const auto lines = world_->metrics("nan1");
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_TRUE(lines[2]["optim/grad_norm"].is_null());
  EXPECT_EQ(lines[2]["mismatch_kl/max"], 0.0);
  for (const std::size_t i : {0U, 1U, 3U, 4U}) EXPECT_TRUE(lines[i]["optim/grad_norm"].is_number());
  // The batch as it was: what its rollouts say of it.
  const Json dump = Json::parse(slurp(*world_ / "nan1/nonfinite/nonfinite_step_3.json"));
  EXPECT_EQ(dump["grad_norm"], "nan");
  std::multiset<std::vector<int>> dumped, written;
  for (const Json& row : dump["micro_batches"]) {
    EXPECT_EQ(row["inference_logprobs"].size(), row["ids"].size());
    EXPECT_EQ(row["advantages"].size(), row["ids"].size());
    const auto ids = row["ids"].get<std::vector<int>>(), ends = row["cu_seqlens"].get<std::vector<int>>();
    for (std::size_t d = 0; d + 1 < ends.size(); ++d)
      dumped.insert({ids.begin() + ends[d], ids.begin() + ends[d + 1]});
  }
  for (const Json& line : world_->lines("nan1/rollouts/step_3.jsonl")) {
    auto ids = line["prompt_ids"].get<std::vector<int>>();
    for (const Json& id : line["completion_ids"]) ids.push_back(id.get<int>());
    written.insert(ids);
  }
  EXPECT_EQ(dumped, written);
  // No update was made: after a first step that was skipped, the policy is the one that the run began with.
  const auto skipped =
      world_->run(world_->rl("nan2", {"--fail", "train.gradient=nan:1", "--max-steps", "1"}));
  EXPECT_EQ(skipped.code, 0) << skipped.err;
  EXPECT_EQ(slurp(*world_ / "nan2/weights/step_1/model.safetensors"),
            slurp(*world_ / "base/weights/step_60/model.safetensors"));
  EXPECT_NE(slurp(*world_ / "nan1/weights/step_5/model.safetensors"),
            slurp(*world_ / "base/weights/step_60/model.safetensors"));

  const auto stops =
      world_->run(world_->rl("nan3", {"--fail", "train.gradient=nan:*", "--max-nonfinite-steps", "2"}));
  EXPECT_EQ(stops.code, 1);
  expect_has(stops.err, {"error: 2 steps in a row", "because", "help:", "nonfinite_step_2.json",
                         "last: step 2,", "saved in " + *world_ / "nan3/checkpoints/step_2"});
  EXPECT_TRUE(fs::exists(*world_ / "nan3/nonfinite/nonfinite_step_1.json"));
  const auto on = world_->run(world_->rl("nan3", {"--max-steps", "3", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(on.code, 0) << on.err;
  EXPECT_EQ(world_->metrics("nan3").size(), 3U);
}

TEST_F(Rl, DryRunShowsPromptsAndTouchesNothing) {
  const auto o = world_->run(world_->rl("dry", {"--dry-run"}));
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.out, {"prompt 1", "prompt 3", "answer", "1.000 for a perfect"});
  expect_has(o.err, {"planned", "kv cache", "reverse-text (150 tasks)"});
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
  EXPECT_EQ(world_->run(world_->rl("dry", {"--max-steps", "1"})).code, 0);
  EXPECT_EQ(world_->run(world_->rl("dry", {"--dry-run"})).code, 2);  // used now
  EXPECT_EQ(world_->run(world_->rl("dry", {"--dry-run", "--clean"})).code, 0);
  EXPECT_TRUE(fs::exists(*world_ / "dry/checkpoints/step_1"));
}

TEST_F(Rl, JsonResultHoldsNumbers) {
  const auto o = world_->run(world_->rl("json", {"--json", "--max-steps", "2"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const Json values = Json::parse(o.out)["result"];
  EXPECT_EQ(values["steps"], 2);
  for (const char* key : {"reward_first", "reward_last", "entropy_last", "tokens", "rollouts", "seconds"})
    EXPECT_TRUE(values[key].is_number()) << key;
  EXPECT_TRUE(fs::exists(values["weights"].get<std::string>()));
}

}  // namespace
}  // namespace rlcpp::test
