// Bad input to `rlcpp sft`: exit code 2, and one sentence with what, where and the mend.
#include <map>

#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

class SftInput : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new SftWorld; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static void refused(const std::vector<std::string>& more, const std::vector<std::string>& parts) {
    world_->expect_refused(world_->sft("refused", more), "refused", parts);
  }
  static std::string file(const std::string& name, const std::string& text) {
    return world_->file(name, text);
  }
  static SftWorld* world_;
};
SftWorld* SftInput::world_ = nullptr;

TEST_F(SftInput, Rows) {
  const std::string good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  refused({"--data.name", file("malformed.jsonl", good + good + "{\"prompt\": \"a\", \"comp\n")},
          {"malformed.jsonl:3", "malformed JSON"});
  refused({"--data.name", file("columns.jsonl", good + "{\"text\": \"a\"}\n")},
          {"columns.jsonl:2", "\"messages\"", "it has: text"});
  refused({"--data.name", file("types.jsonl", "{\"messages\": {\"role\": \"user\"}}\n")},
          {"types.jsonl:1", "not a list of messages"});
  refused({"--data.name",
           file("untrained.jsonl", good + "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n")},
          {"untrained.jsonl:2", "no token to train", "user"});
  refused({"--data.name", file("empty.jsonl", "\n\n")}, {"empty.jsonl", "no rows"});
  refused({"--data.name", *world_ / "nowhere.jsonl"}, {"nowhere.jsonl", "neither a file nor a directory"});
  refused({"--val.data.name", *world_ / "nowhere.jsonl"}, {"error: val.data.name = ", "nowhere.jsonl"});
  // What stands in the way is said, here a link to itself.
  std::filesystem::create_symlink("loop.jsonl", *world_ / "loop.jsonl");
  refused({"--data.name", *world_ / "loop.jsonl"}, {"cannot be read", "because Too many levels"});
  refused({"--data.name", *world_ / "nowhere.jsonl", "--device", "tpu"}, {"unknown device \"tpu\""});
  refused({"--data.name", *world_ / "nowhere.jsonl", "--memory-limit", "1XB"}, {"memory_limit = \"1XB\""});
  refused({"--data.splits", "holdout"}, {"no split \"holdout\"", "train"});
}

TEST_F(SftInput, ModelAndTokenizer) {
  refused({"--model.name", *world_ / "nowhere"}, {"nowhere", "neither a directory nor a built-in model"});
  refused({"--model.name", "Qwen/Qwen3-0.6B"},
          {"Qwen/Qwen3-0.6B", "HF_HUB_OFFLINE", "--model.debug.random-init"});
  refused({"--tokenizer.name", *world_ / "model"}, {"has no tokenizer.json"});
  refused({"--tokenizer.chat-template", "missing.jinja"}, {"tokenizer.chat_template", "missing.jinja"});
  refused({"--tokenizer.chat-template", "{% for m in messages %}{{ m.content }}"}, {"template"});
  // A tokenizer that is larger than the embedding.
  fs::create_directories(*world_ / "small");
  std::string config = slurp(*world_ / "model/config.json");
  config.replace(config.find("320"), 3, "280");
  file("small/config.json", config);
  refused({"--model.name", *world_ / "small"}, {"more tokens than the model", "280 rows"});
  const auto made = world_->run(world_->sft("base", {"--max-steps", "1"}));
  ASSERT_EQ(made.code, 0) << made.err;
  const std::string weights = *world_ / "base/weights/step_1";
  // Weights have learnt their positions and no others; random ones are given what the rows need, and say so
  // in the config.json that they leave.
  refused({"--model.name", weights, "--data.seq-len", "129"},
          {"data.seq_len = 129 is longer than the model", "max_position_embeddings = 128"});
  const auto longer = world_->run(world_->sft("longer", {"--max-steps", "1", "--data.seq-len", "129"}));
  ASSERT_EQ(longer.code, 0) << longer.err;
  EXPECT_NE(slurp(*world_ / "longer/weights/step_1/config.json").find("\"max_position_embeddings\": 129"),
            std::string::npos);
  // A file that was cut short.
  fs::resize_file(weights + "/model.safetensors", fs::file_size(weights + "/model.safetensors") - 5);
  refused({"--model.name", weights}, {"model.safetensors"});
}

TEST_F(SftInput, Configuration) {
  refused({"--data.micro-batch-size", "3"},
          {"data.micro_batch_size does not divide data.batch_size", "4 rows in groups of 3"});
  refused({"--data.pack-function", "stack"}, {"stack", "cat"});
  refused({"--optim.learning-rate-typo", "1"}, {"learning_rate_typo"});
  refused({"--optim.lr", "-1"}, {"optim.lr"});
  refused({"--scheduler.type", "cosine", "--scheduler.warmup-steps", "9"},
          {"phases of the scheduler", "max_steps 6"});
  refused({"--model.seq-len", "32"}, {"data.seq_len is longer than model.seq_len"});
  refused({"--ckpt.resume-step", "5"}, {"no checkpoint"});
  refused({"--ckpt.resume-step", "-1", "--clean"}, {"clean and ckpt.resume_step"});
  refused({"--memory-limit", "lots"}, {"memory_limit", "44GiB"});
  refused({"--fail", "no.such.point=kill"}, {"no.such.point"});
  refused({"--device", "tpu"}, {"tpu"});
  const std::map<std::string, std::string> features = {{"--model.ep", "expert parallelism"},
                                                       {"--model.cp", "context parallelism"},
                                                       {"--model.tp", "tensor parallelism"},
                                                       {"--model.vlm", "vision"},
                                                       {"--model.fp8", "FP8"},
                                                       {"--model.load-in-4bit", "quantised"},
                                                       {"--model.compile", "compile"},
                                                       {"--model.fsdp-cpu-offload", "fsdp_cpu_offload"}};
  for (const auto& [flag, word] : features) refused({flag, "2"}, {word});
}

TEST_F(SftInput, NumbersThatWouldRuinTheWeightsAreRefused) {
  refused({"--optim.lr", "inf"}, {"optim.lr must be a number of at least 0", "it is inf"});
  refused({"--optim.lr", "nan"}, {"it is nan"});
  refused({"--optim.betas2", "1.0"}, {"optim.betas2 must be a number of at least 0 and below 1", "it is 1"});
}

TEST_F(SftInput, TooLittleMemoryIsRefusedBeforeTheStartWithWaysOut) {
  const auto o = world_->run(world_->sft("refused", {"--memory-limit", "100KiB"}));
  EXPECT_EQ(o.code, 3);
  // Which changes are listed is the matter of memory_test.cpp; here nothing makes so small a model fit.
  for (const char* part : {"error: ", "because 0.", "are planned", "help: no change makes it fit"})
    EXPECT_NE(o.err.find(part), std::string::npos) << part << o.err;
  EXPECT_FALSE(fs::exists(*world_ / "refused/metrics.jsonl"));
  EXPECT_EQ(world_->run(world_->sft("refused", {"--memory-limit", "100KiB", "--dry-run"})).code, 2);
}

TEST_F(SftInput, ADryRunFindsTheSame) {
  const auto o = world_->run(world_->sft("refused", {"--tokenizer.name", *world_ / "model", "--dry-run"}));
  EXPECT_EQ(o.code, 2);
  // A plan for a GPU can be made anywhere, a run cannot (app/memory_test.cpp).
  EXPECT_EQ(world_->run(world_->sft("refused", {"--device", "cudax", "--dry-run"})).code, 2);
  EXPECT_EQ(world_->run(world_->sft("refused", {"--device", "cuda"})).code, 3);
}

}  // namespace
}  // namespace rlcpp::test
