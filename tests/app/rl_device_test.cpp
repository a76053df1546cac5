// `rlcpp rl` and `rlcpp orchestrator` on a GPU: planned wherever this runs, run where there is one and
// RLCPP_TEST_GPU=1.
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "rl_pair.h"
#include "ways_out.h"
#include "wide_model.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class RlDevice : public Rl {
 protected:
  // Shapes of 0.6B with the world's tokenizer; on a GPU that need not be here.
  static std::vector<std::string> large(const std::vector<std::string>& more) {
    return joined({"rl",
                   "@",
                   *world_ / "rl.toml",
                   "--model.name",
                   "Qwen/Qwen3-0.6B",
                   "--trainer.model.debug.random-init",
                   "--tokenizer.name",
                   *world_ / "tokenizer",
                   "--device",
                   "cuda",
                   "--inference.page-size",
                   "16",
                   "--inference.max-sequences",
                   "256",
                   "--inference.max-batch-tokens",
                   "2048",
                   "--orchestrator.seq-len",
                   "2048",
                   "--trainer.model.seq-len",
                   "2048",
                   "--output-dir",
                   *world_ / "never"},
                  more);
  }
};

constexpr double kPageOf06B =
    28 * 2 * 8 * 128 * 16 * 2.0;  // bytes: layers, k and v, heads, head_dim, tokens.
// An engine may keep a page for itself.

TEST_F(RlDevice, TrainerAndEngineShareOnePlanForAGpuThatNeedNotBeHere) {
  const auto all = planned(*world_, large({"--inference.num-pages", "1000", "--memory-limit", "44GiB"}));
  ASSERT_FALSE(all.empty());
  EXPECT_NEAR(all.at("kv cache"), 1000 * kPageOf06B, kPageOf06B);
  // bf16 weights once, for both; f32 masters and two moments.
  EXPECT_NEAR(all.at("weights"), 2 * 596e6, 0.05 * 596e6);
  EXPECT_NEAR(all.at("optimizer"), 12 * 596e6, 12e6);
  EXPECT_LE(all.at("planned"), all.at("available"));
  // The cache takes nine tenths of what is left, page by page, and no more than it can use.
  const auto left = planned(*world_, large({"--memory-limit", "44GiB"}));
  ASSERT_FALSE(left.empty());
  const double without = left.at("planned") - left.at("kv cache");
  EXPECT_NEAR(left.at("kv cache"), 0.9 * (left.at("available") - without), 0.02 * left.at("kv cache"));
  EXPECT_EQ(std::fmod(left.at("kv cache"), kPageOf06B), 0);
  const auto roomy = planned(*world_, large({"--memory-limit", "200GiB"}));
  EXPECT_NEAR(roomy.at("kv cache"), 256 * 128 * kPageOf06B, kPageOf06B);
  const ProcessOutcome o = world_->run(large({"--memory-limit", "44GiB", "--dry-run"}));
  expect_has(o.err, {"numeric mode fast", "kv cache"});
  if (o.err.find("a GPU that is not here") != std::string::npos) {
    EXPECT_EQ(world_->run(large({})).code, 3);
  }
}

TEST_F(RlDevice, ARefusalListsWaysOut) {
  const auto fixed = large({"--inference.num-pages", "1000"});
  for (const double limit : {13.0, 9.0}) EXPECT_GT(expect_ways_out(*world_, fixed, limit), 0U) << limit;
  EXPECT_GT(expect_ways_out(*world_, large({"--inference.num-pages", "20000"}), 44), 0U);
  // A cache that is sized by the memory is the smallest one in a refusal, and takes what a change frees.
  const auto limited = large({"--memory-limit", "9GiB"});
  const ProcessOutcome o = world_->run(joined(limited, {"--dry-run"}));
  EXPECT_EQ(o.code, 2) << o.err;
  const std::vector<Suggestion> found = suggestions(o.err);
  EXPECT_FALSE(found.empty()) << o.err;
  for (const Suggestion& suggestion : found) {
    const auto memory = planned(*world_, joined(limited, suggestion.flags));
    ASSERT_FALSE(memory.empty()) << suggestion.flags.front();
    EXPECT_LE(memory.at("planned"), 9 * kGiB);
    EXPECT_GE(memory.at("planned"), (suggestion.gib - 0.06) * kGiB);
  }
}

// What mode exact cannot keep its promise for is refused before there is a GPU.
TEST_F(RlDevice, ExactIsRefusedWhereItsSumsWouldDiffer) {
  const auto exact = [](const std::vector<std::string>& more) {
    return world_->run(
        large(joined({"--numeric-mode", "exact", "--memory-limit", "44GiB", "--dry-run"}, more)));
  };
  EXPECT_EQ(exact({}).code, 0);
  const auto pages = exact({"--inference.page-size", "24"});
  EXPECT_EQ(pages.code, 2);
  expect_has(pages.err, {"page_size of the rollout engine is 24", "multiple of 16", "fast"});
  const auto heads = world_->run(world_->rl(
      "never", {"--device", "cuda", "--numeric-mode", "exact", "--inference.page-size", "16", "--dry-run"}));
  EXPECT_EQ(heads.code, 2);
  expect_has(heads.err, {"numeric_mode exact does not run", "heads of 8", "fast"});
}

TEST_F(RlDevice, AdaptersHaveNoOptimizerOfTheBase) {
  const auto lora =
      planned(*world_, large({"--inference.num-pages", "1000", "--trainer.model.lora.rank", "16"}));
  ASSERT_FALSE(lora.empty());
  EXPECT_LT(lora.at("optimizer"), 0.5 * kGiB);
  EXPECT_NEAR(lora.at("kv cache"), 1000 * kPageOf06B, kPageOf06B);
}

// Weights, and where the next ones arrive; nothing of a trainer.
TEST_F(RlDevice, AnOrchestratorPlansAPolicyAlone) {
  const auto memory = planned(*world_, {"orchestrator",
                                        "--model.name",
                                        "Qwen/Qwen3-0.6B",
                                        "--tokenizer.name",
                                        *world_ / "tokenizer",
                                        "--device",
                                        "cuda",
                                        "--inference.num-pages",
                                        "1000",
                                        "--batch-size",
                                        "16",
                                        "--rollouts-per-example",
                                        "4",
                                        "--env.0.id",
                                        "reverse-text",
                                        "--env.0.args.data",
                                        *world_ / "prompts.jsonl",
                                        "--max-steps",
                                        "5",
                                        "--memory-limit",
                                        "44GiB",
                                        "--output-dir",
                                        *world_ / "never"});
  ASSERT_FALSE(memory.empty());
  EXPECT_NEAR(memory.at("weights"), 2 * 2 * 596e6, 0.1 * 596e6);
  EXPECT_NEAR(memory.at("kv cache"), 1000 * kPageOf06B, kPageOf06B);
  EXPECT_FALSE(memory.contains("optimizer"));
}

class RlGpu : public Rl {
 protected:
  void SetUp() override {
    const char* value = std::getenv("RLCPP_TEST_GPU");
    if (value == nullptr || std::string_view(value) != "1")
      GTEST_SKIP() << "needs a GPU and RLCPP_TEST_GPU=1";
    make_wide_model(*world_);
  }
  static std::vector<std::string> on_gpu(const std::string& out, const std::vector<std::string>& more = {}) {
    return joined(world_->rl(out, {"--model.name", *world_ / "wide/weights/step_60", "--device", "cuda",
                                   "--inference.page-size", "16"}),
                  more);
  }
  // bf16 on both sides: close, and not equal.
  static void expect_near_policy(const std::string& out, std::size_t steps) {
    const auto lines = world_->metrics(out);
    ASSERT_EQ(lines.size(), steps);
    for (const Json& line : lines) {
      EXPECT_LT(line.at("mismatch_kl/mean").get<double>(), 0.01) << line;
      EXPECT_LT(line.at("mismatch/max_abs_logprob").get<double>(), 0.5) << line;
      EXPECT_GT(line.at("optim/grad_norm").get<double>(), 0);
      double split = 0;
      for (const char* part :
           {"time/generate_completions", "time/forward_backward", "time/broadcast_weights", "time/waiting"}) {
        split += line.at(part).get<double>();
      }
      EXPECT_NEAR(split, line.at("time/step").get<double>(), 1e-6);
      EXPECT_LT(line.at("time/broadcast_weights").get<double>(), 0.001);
    }
  }
};

TEST_F(RlGpu, TrainerAndEngineTakeTurnsOnOneDevice) {
  const auto o = world_->run(on_gpu("gpu"));
  ASSERT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"numeric mode fast", "device: cuda:0", "round apart"});
  expect_near_policy("gpu", 5);
}

TEST_F(RlGpu, TheSameSeedGivesTheSameBits) {
  for (const char* out : {"first", "second"}) ASSERT_EQ(world_->run(on_gpu(out)).code, 0);
  world_->expect_same_run("second", "first", 5);
}

// With draws, prefixes and packing of its own every rollout has the trainer's bits; the audit says the same.
TEST_F(RlGpu, InModeExactNothingDiffers) {
  const auto o = world_->run(on_gpu("exact", {"--numeric-mode", "exact", "--trainer.audit.interval", "2"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = world_->metrics("exact");
  ASSERT_EQ(lines.size(), 5U);
  int audits = 0;
  for (const Json& line : lines) {
    EXPECT_EQ(line.at("mismatch_kl/mean").get<double>(), 0) << line;
    EXPECT_EQ(line.at("mismatch/max_abs_logprob").get<double>(), 0) << line;
    audits += line.contains("audit/differ") ? 1 : 0;
    EXPECT_EQ(line.value("audit/differ", 0.0), 0) << line;
  }
  EXPECT_EQ(audits, 2);
}

TEST_F(RlGpu, AdaptersAndATeacher) {
  const auto o = world_->run(
      on_gpu("gpu-lora", {"--trainer.model.lora.rank", "8", "--trainer.optim.lr", "1e-2",
                          "--orchestrator.teacher-model.model.name", *world_ / "wide/weights/step_60",
                          "--trainer.loss.teacher-tau", "0.1"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = world_->metrics("gpu-lora");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) {
    EXPECT_LT(line.at("mismatch_kl/mean").get<double>(), 0.01) << line;
    EXPECT_TRUE(line.contains("teacher_kl/mean"));
  }
}

TEST_F(RlGpu, ARunGoesOnFromItsCheckpoint) {
  ASSERT_EQ(world_->run(on_gpu("whole", {"--ckpt.interval", "2"})).code, 0);
  ASSERT_EQ(world_->run(on_gpu("parts", {"--ckpt.interval", "2", "--max-steps", "2"})).code, 0);
  const auto o =
      world_->run(on_gpu("parts", {"--ckpt.interval", "2", "--ckpt.resume-step", "-1", "--max-steps", "5"}));
  ASSERT_EQ(o.code, 0) << o.err;
  world_->expect_same_state("parts", "whole", 5);
}

// A trainer and an orchestrator that both use the GPU, through files in bf16: the policy is the same.
class PairGpu : public Pair {
 protected:
  void SetUp() override {
    const char* value = std::getenv("RLCPP_TEST_GPU");
    if (value == nullptr || std::string_view(value) != "1")
      GTEST_SKIP() << "needs a GPU and RLCPP_TEST_GPU=1";
  }
};

TEST_F(PairGpu, TheOrchestratorSamplesOnTheGpu) {
  const Running o = start(orchestrator(
      "pair-gpu", {"--device", "cuda", "--inference.page-size", "16", "--memory-limit", "4GiB"}));
  const Running t = start(trainer("pair-gpu", {"--device", "cuda", "--memory-limit", "4GiB"}));
  expect_both(t, o);
  const auto lines = world_->metrics("pair-gpu");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) EXPECT_LT(line.at("mismatch_kl/mean").get<double>(), 0.01) << line;
}

TEST_F(PairGpu, InModeExactTheProbabilitiesAreTheTrainersBits) {
  make_wide_model(*world_);
  const Words exact = {"--model.name",   *world_ / "wide/weights/step_60",
                       "--device",       "cuda",
                       "--numeric-mode", "exact",
                       "--memory-limit", "4GiB"};
  const Running o = start(orchestrator("pair-exact", plus(exact, {"--inference.page-size", "16"})));
  const Running t = start(trainer("pair-exact", exact));
  expect_both(t, o);
  const auto lines = world_->metrics("pair-exact");
  ASSERT_EQ(lines.size(), 5U);
  for (const Json& line : lines) EXPECT_EQ(line.at("mismatch_kl/mean").get<double>(), 0) << line;
}

}  // namespace
}  // namespace rlcpp::test
