#include <gtest/gtest.h>

#include "base/config/load.h"

namespace rlcpp::test {
namespace {

// The keys of an SFT and of an RL command, as far as these tests need them.
const std::vector<std::string> kSft = {"max_steps",
                                       "seed",
                                       "output_dir",
                                       "seq_len",
                                       "optim",
                                       "optim.lr",
                                       "optim.max_norm",
                                       "optim.weight_decay",
                                       "optim.type",
                                       "optim.betas1",
                                       "optim.betas2",
                                       "scheduler",
                                       "scheduler.type",
                                       "scheduler.warmup_steps",
                                       "data",
                                       "data.name",
                                       "data.batch_size",
                                       "data.micro_batch_size",
                                       "data.seq_len",
                                       "model",
                                       "model.name",
                                       "model.ac",
                                       "model.ac.freq",
                                       "model.lora",
                                       "model.lora.rank",
                                       "model.lora.alpha",
                                       "ckpt",
                                       "ckpt.interval",
                                       "ckpt.keep_last",
                                       "log",
                                       "log.level",
                                       "log.file",
                                       "val",
                                       "val.interval",
                                       "dist",
                                       "dist.ranks",
                                       "dist.devices",
                                       "dist.zero",
                                       "dist.timeout",
                                       "dist.start_timeout"};
const std::vector<std::string> kRl = {"trainer",
                                      "trainer.optim.lr",
                                      "trainer.loss.kl_tau",
                                      "orchestrator",
                                      "orchestrator.optim.lr",
                                      "orchestrator.rollouts_per_example",
                                      "orchestrator.sampling.max_tokens",
                                      "orchestrator.sampling.temperature",
                                      "orchestrator.batch_size",
                                      "env.0.id",
                                      "env.0.name"};

TEST(ConfigSuggest, NamesOfHuggingFaceAndTrl) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"learning_rate", "optim.lr"},
      {"optim.learning_rate", "optim.lr"},
      {"learning-rate", "optim.lr"},
      {"per_device_train_batch_size", "data.micro_batch_size"},
      {"gradient_accumulation_steps", "data.batch_size"},
      {"max_seq_length", "data.seq_len"},
      {"max_length", "data.seq_len"},
      {"num_train_epochs", "max_steps"},
      {"warmup_steps", "scheduler.warmup_steps"},
      {"warmup_ratio", "scheduler.warmup_steps"},
      {"weight_decay", "optim.weight_decay"},
      {"max_grad_norm", "optim.max_norm"},
      {"lr_scheduler_type", "scheduler.type"},
      {"save_steps", "ckpt.interval"},
      {"adam_beta1", "optim.betas1"},
      {"gradient_checkpointing", "model.ac"},
      {"lora_r", "model.lora.rank"},
      {"model.lora.r", "model.lora.rank"},
      {"lora_alpha", "model.lora.alpha"},
      {"model_name_or_path", "model.name"},
  };
  for (const auto& [theirs, ours] : pairs) EXPECT_EQ(config::nearest(theirs, kSft), ours) << theirs;
  EXPECT_EQ(config::nearest("num_generations", kRl), "orchestrator.rollouts_per_example");
  EXPECT_EQ(config::nearest("beta", kRl), "trainer.loss.kl_tau");
  EXPECT_EQ(config::nearest("temperature", kRl), "orchestrator.sampling.temperature");
  EXPECT_EQ(config::nearest("max_completion_length", kRl), "orchestrator.sampling.max_tokens");
}

TEST(ConfigSuggest, AForeignNameStaysInItsSection) {
  EXPECT_EQ(config::nearest("trainer.learning_rate", kRl), "trainer.optim.lr");
  EXPECT_EQ(config::nearest("orchestrator.optim.learning_rate", kRl), "orchestrator.optim.lr");
}

TEST(ConfigSuggest, Typos) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"optim.lrr", "optim.lr"},
      {"optim.rl", "optim.lr"},
      {"optm.lr", "optim.lr"},
      {"optim.max_nrom", "optim.max_norm"},
      {"micro_batch_size", "data.micro_batch_size"},
      {"data.batch_size_micro", "data.micro_batch_size"},
      {"data.sequence_len", "data.seq_len"},
      {"OPTIM.LR", "optim.lr"},
      {"seeed", "seed"},
      {"output-dir", "output_dir"},
      {"checkpoint.interval", "ckpt.interval"},
      {"dist.rank", "dist.ranks"},
      {"dist.num_ranks", "dist.ranks"},
      {"dist.zero-level", "dist.zero"},
      {"dist.zero_stage", "dist.zero"},
      {"dist.device", "dist.devices"},
      {"dist.time_out", "dist.timeout"},
  };
  for (const auto& [typo, meant] : pairs) {
    const std::string answer = config::nearest(typo, kSft);
    EXPECT_EQ(answer, meant) << typo;
  }
}

TEST(ConfigSuggest, NothingIsBetterThanNonsense) {
  EXPECT_EQ(config::nearest("zzzzzz", kSft), "");
  EXPECT_EQ(config::nearest("optim.quantisation", kSft), "");
  EXPECT_EQ(config::nearest("num_generations", kSft), "");
  EXPECT_EQ(config::nearest("", kSft), "");
  EXPECT_EQ(config::nearest("lr", {}), "");
}

}  // namespace
}  // namespace rlcpp::test
