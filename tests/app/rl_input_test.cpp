// Bad input to `rlcpp rl`: exit code 2, and one sentence with what, where and the mend.
#include "rl_run.h"
#include "ways_out.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;

class RlInput : public Rl {
 protected:
  static void refused(const std::vector<std::string>& more, const std::vector<std::string>& parts) {
    world_->expect_refused(world_->rl("refused", more), "refused", parts);
    // A dry run finds the same.
    auto dry = more;
    dry.push_back("--dry-run");
    world_->expect_refused(world_->rl("refused", dry), "refused", parts);
  }
  static std::vector<std::string> data(const std::string& name, const std::string& text) {
    return {"--orchestrator.env.0.args.data", world_->file(name, text)};
  }
};

TEST_F(RlInput, RowsOfTheEnvironment) {
  const std::string good = "{\"prompt\": \"ab\"}\n";
  refused({"--orchestrator.env.0.args.data", *world_ / "nowhere.jsonl"}, {"nowhere.jsonl"});
  refused({"--orchestrator.env.0.args.data", ""}, {"reverse-text", "data", "JSONL"});
  refused(data("malformed.jsonl", good + good + "{\"prompt\": \"ab\n"),
          {"malformed.jsonl:3", "malformed JSON", "column", "every line is one JSON object"});
  refused(data("bytes.jsonl", "{\"prompt\": \"a\xff\"}\n"), {"bytes.jsonl:1", "not UTF-8"});
  refused(data("number.jsonl", "{\"prompt\": 1e999}\n"),
          {"number.jsonl:1", "beyond what JSON's readers hold"});
  refused(
      data("deep.jsonl", "{\"prompt\": " + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}\n"),
      {"deep.jsonl:1", "nested 1000001 levels deep"});
  refused(data("list.jsonl", good + "[1]\n"), {"list.jsonl:2", "not a JSON object"});
  refused(data("columns.jsonl", good + "\n{\"text\": \"ab\"}\n"),
          {"columns.jsonl:3", "no column 'prompt'", "the row has text", "add the column"});
  refused(data("types.jsonl", "{\"prompt\": 3}\n"), {"types.jsonl:1", "not a string"});
  refused(data("empty.jsonl", "\n\n"), {"empty.jsonl", "no rows"});
  refused(data("text.jsonl", good + "reverse this\n"), {"text.jsonl:2", "malformed JSON"});
}

TEST_F(RlInput, Environments) {
  refused({"--orchestrator.env.0.id", "reverse-txt"},
          {"reverse-txt", "built in are", "reverse-text", "arithmetic", "env.id"});
  refused({"--orchestrator.env.0.args.dta", "x"}, {"dta", "data"});
  refused({"--orchestrator.val.num-examples", "4"}, {"holdout"});  // nothing is held out
  refused({"--orchestrator.eval.interval", "4"}, {"orchestrator.eval", "no environment"});
}

TEST_F(RlInput, SamplingThatTheTrainerDoesNotKnow) {
  for (const auto& [flag, value] :
       {std::pair{"top-p", "0.9"}, {"top-k", "20"}, {"min-p", "0.05"}, {"repetition-penalty", "1.1"}}) {
    std::string name = flag;
    std::replace(name.begin(), name.end(), '-', '_');
    refused({std::string("--orchestrator.sampling.") + flag, value}, {name, value});
  }
  refused({"--orchestrator.sampling.min-tokens", "3"}, {"min_tokens"});
  refused({"--orchestrator.sampling.temperature", "0"}, {"temperature", "at least 0.01"});
  // Validation may sample as it likes.
  const auto o =
      world_->run(world_->rl("greedy", {"@", *world_ / "all.toml", "--orchestrator.val.sampling.temperature",
                                        "0", "--orchestrator.val.sampling.top-k", "3", "--max-steps", "3"}));
  EXPECT_EQ(o.code, 0) << o.err;
}

TEST_F(RlInput, Lengths) {
  refused({"--orchestrator.seq-len", "129", "--trainer.model.seq-len", "200"},
          {"129", "max_position_embeddings = 128"});
  refused({"--max-model-len", "129"}, {"129", "max_position_embeddings = 128"});
  refused({"--inference.model.max-model-len", "39"}, {"max_model_len", "39", "40"});
  refused({"--trainer.model.seq-len", "39"}, {"trainer.model.seq_len", "39", "40"});
  refused({"--orchestrator.sampling.max-tokens", "40"}, {"max_tokens", "40", "seq_len"});
  refused({"--seq-len", "50"}, {"seq_len", "say different things"});
  // Every prompt leaves no room for an answer: found before the first step.
  std::string prompts;
  for (int i = 0; i < 30; ++i) prompts += "{\"prompt\": \"" + std::string(60, 'a') + "bcd\"}\n";
  auto words = data("long.jsonl", prompts);
  words.insert(words.end(), {"--orchestrator.seq-len", "20", "--orchestrator.sampling.max-tokens", "5"});
  refused(words, {"no prompt of environment 'reverse-text' has room for an answer", "they have",
                  "orchestrator.seq_len = 20", "raise orchestrator.seq_len above"});
}

// Of many good prompts one is wrong: it would be drawn some day.
TEST_F(RlInput, PromptsAreLookedAtBeforeTheFirstStep) {
  std::string prompts;
  for (int i = 0; i < 300; ++i) prompts += "{\"prompt\": \"ab\"}\n\n";
  const std::string with_long = prompts + "{\"prompt\": \"" + std::string(400, 'a') + "\"}\n" + prompts;
  auto words = data("one-long.jsonl", with_long);
  words.insert(words.end(), {"--max-steps", "1", "--no-ckpt"});
  const auto o = world_->run(world_->rl("onelong", words));
  EXPECT_EQ(o.code, 0) << o.err;
  expect_has(o.err, {"1 of 601 prompts of environment 'reverse-text' have no room for an answer",
                     "one-long.jsonl:601", "orchestrator.seq_len = 40"});

  const std::string refusing = world_->file("refusing.jinja",
                                            "{%- for m in messages -%}{%- if 'forbidden' in m.content -%}{{ "
                                            "raise_exception('not this') }}{%- endif "
                                            "-%}{{ m.content }}{%- endfor -%}");
  words = data("one-wrong.jsonl", prompts + "{\"prompt\": \"forbidden\"}\n" + prompts);
  words.insert(words.end(), {"--tokenizer.chat-template", refusing});
  refused(words, {"one-wrong.jsonl:601: ", "not this"});
  // The environments of validation too, as far as they are used.
  std::vector<std::string> val = {"--orchestrator.val.num-examples",
                                  "301",
                                  "--orchestrator.val.env.0.args.data",
                                  *world_ / "one-wrong.jsonl",
                                  "--tokenizer.chat-template",
                                  refusing,
                                  "--orchestrator.seq-len",
                                  "120"};
  refused(val, {"one-wrong.jsonl:601: ", "not this"});
  val[1] = "300";
  val.emplace_back("--dry-run");
  const auto used = world_->run(world_->rl("val", val));
  EXPECT_EQ(used.code, 0) << used.err;
}

TEST_F(RlInput, ModelAndTokenizer) {
  refused({"--model.name", *world_ / "nowhere"}, {"nowhere", "neither a directory nor a built-in model"});
  refused({"--model.name", "Qwen/Qwen3-0.6B"}, {"Qwen/Qwen3-0.6B", "HF_HUB_OFFLINE"});
  refused({"--tokenizer.name", *world_ / "model"}, {"has no tokenizer.json"});
  std::string config = slurp(*world_ / "model/config.json");
  config.replace(config.find("320"), 3, "280");
  world_->file("small/config.json", config);
  refused({"--model.name", *world_ / "small", "--tokenizer.name", *world_ / "tokenizer"},
          {"more tokens than the model", "280 rows"});
  fs::copy(*world_ / "base/weights/step_60", *world_ / "cut", fs::copy_options::recursive);
  fs::resize_file(*world_ / "cut/model.safetensors", fs::file_size(*world_ / "cut/model.safetensors") - 5);
  world_->expect_refused(world_->rl("refused", {"--model.name", *world_ / "cut"}), "refused",
                         {"model.safetensors"});
}

TEST_F(RlInput, Configuration) {
  refused({"--orchestrator.rollouts-per-example", "3"},
          {"orchestrator.batch_size", "not a multiple", "16 and 3"});
  refused({"--orchestrator.batch-sise", "3"}, {"batch_sise", "batch_size"});
  refused({"--trainer.loss.type", "ppo"}, {"trainer.loss.type", "ppo", "grpo"});
  refused({"--trainer.optim.lr", "nan"}, {"trainer.optim.lr", "nan"});
  refused({"--ckpt.resume-step", "5"}, {"no checkpoint"});
  refused({"--ckpt.resume-step", "-1", "--clean"}, {"clean and ckpt.resume_step"});
  // A section is no answer to a key that is not in it.
  refused({"--inference.tp", "2"},
          {"inference.tp is not a known key", "--trainer.model.tp is probably meant"});
  refused({"--fail", "no.such.point=kill"}, {"no.such.point"});
  refused({"--inference.num-pages", "3"}, {"pages"});
  refused({"--max-async-level", "2"}, {"max_async_level", "2"});
  const std::map<std::string, std::string> features = {{"--trainer.model.ep", "expert parallelism"},
                                                       {"--trainer.model.cp", "context parallelism"},
                                                       {"--trainer.model.tp", "tensor parallelism"},
                                                       {"--trainer.model.vlm", "vision"},
                                                       {"--trainer.model.fp8", "FP8"},
                                                       {"--trainer.model.load-in-4bit", "quantised"},
                                                       {"--inference.enable-lora", "adapters"},
                                                       {"--inference.parallel.tp", "an engine of its own"},
                                                       {"--orchestrator.teacher-model.name", "teacher"},
                                                       {"--trainer.wandb.project", "set wandb at the top"}};
  for (const auto& [flag, word] : features) refused({flag, "2"}, {word});
}

TEST_F(RlInput, APlanThatDoesNotFitIsRefusedWithChangesThatDo) {
  const auto command = world_->rl("refused", {"--inference.num-pages", "4000"});
  const double all = planned(*world_, command).at("planned") / kGiB;
  for (const double part : {0.95, 0.6, 0.3}) EXPECT_GT(expect_ways_out(*world_, command, part * all), 0U);
}

TEST_F(RlInput, ACheckpointOfAnotherKindIsRefused) {
  auto words = world_->rl("unused", {"--ckpt.resume-step", "-1"});
  fs::copy(*world_ / "base", *world_ / "foreign", fs::copy_options::recursive);
  *std::find(words.begin(), words.end(), *world_ / "unused") = *world_ / "foreign";
  const std::string before = slurp(*world_ / "foreign/metrics.jsonl");
  const auto o = world_->run(words);
  EXPECT_EQ(o.code, 2) << o.err;
  expect_has(o.err, {"error: ", "step 60", "not written by `rlcpp rl`", "help:"});
  EXPECT_EQ(slurp(*world_ / "foreign/metrics.jsonl"), before);
}

}  // namespace
}  // namespace rlcpp::test
