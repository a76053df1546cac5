// How training commands begin and go on: dry runs, names of elsewhere, what a resumed run says.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "hub/hub_server.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Start : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    write("prompts.jsonl", "{\"prompt\": \"ab\"}\n{\"prompt\": \"cde\"}\n{\"prompt\": \"fg\"}\n");
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::string write(const std::string& name, const std::string& text) {
    std::ofstream(*world_ / name, std::ios::binary) << text;
    return *world_ / name;
  }
  static void has(const std::string& text, const std::vector<std::string>& parts) {
    for (const std::string& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in\n" << text;
  }
  static void refused(const std::vector<std::string>& words, const std::vector<std::string>& parts) {
    const auto o = world_->run(words);
    EXPECT_EQ(o.code, 2) << o.err;
    has(o.err, parts);
  }
  static std::vector<std::string> rl(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"rl",
                                      "--model.name",
                                      *world_ / "model",
                                      "--tokenizer.name",
                                      *world_ / "tokenizer",
                                      "--orchestrator.env.0.args.data",
                                      *world_ / "prompts.jsonl",
                                      "--orchestrator.env.0.args.system_prompt",
                                      "None",
                                      "--orchestrator.batch-size",
                                      "4",
                                      "--orchestrator.seq-len",
                                      "64",
                                      "--orchestrator.sampling.max-tokens",
                                      "4",
                                      "--inference.max-sequences",
                                      "8",
                                      "--threads",
                                      "1",
                                      "--max-steps",
                                      "2",
                                      "--output-dir",
                                      *world_ / out};
    words.insert(words.end(), more.begin(), more.end());
    if (std::find(words.begin(), words.end(), "--orchestrator.rollouts-per-example") == words.end())
      words.insert(words.end(), {"--orchestrator.rollouts-per-example", "2"});
    return words;
  }
  static SftWorld* world_;
};
SftWorld* Start::world_ = nullptr;

TEST_F(Start, ADryRunCreatesNothingAndItsJsonHoldsEverything) {
  const auto o = world_->run(world_->sft("dry", {"--dry-run", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_FALSE(fs::exists(*world_ / "dry"));
  const Json json = Json::parse(o.out);
  EXPECT_EQ(json["command"], "sft");
  EXPECT_EQ(json["configuration"]["optim"]["lr"], 0.01);
  EXPECT_EQ(json["configuration"]["data"]["seq_len"], 64);
  EXPECT_TRUE(json["configuration"]["val"].is_null());
  EXPECT_EQ(json["origins"]["optim.lr"], "command line");
  std::size_t sum = 0;
  for (const auto& [use, bytes] : json["memory"].items()) {
    if (use != "planned" && use != "available") sum += bytes.get<std::size_t>();
  }
  EXPECT_GT(sum, 0U);
  EXPECT_EQ(json["memory"]["planned"], sum);
  ASSERT_EQ(json["samples"].size(), 3U);
  for (const Json& sample : json["samples"]) {
    EXPECT_EQ(sample["ids"].size(), sample["mask"].size());
    EXPECT_EQ(std::count(sample["mask"].begin(), sample["mask"].end(), 1), sample["trained"]);
    EXPECT_GT(sample["trained"], 0);
  }
}

TEST_F(Start, TheSameForReinforcementLearning) {
  const auto o = world_->run(rl("dry-rl", {"--dry-run", "--json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_FALSE(fs::exists(*world_ / "dry-rl"));
  const Json json = Json::parse(o.out);
  EXPECT_EQ(json["configuration"]["orchestrator"]["env"][0]["args"]["data"], *world_ / "prompts.jsonl");
  EXPECT_GT(json["memory"]["kv cache"], 0);
  EXPECT_EQ(json["origins"]["trainer.model.name"], "command line (model.name)");
  EXPECT_FALSE(json["origins"].contains("trainer.model.seq_len"));
  ASSERT_EQ(json["prompts"].size(), 3U);
  EXPECT_EQ(json["prompts"][1]["answer"], "edc");
  EXPECT_EQ(json["prompts"][1]["reward_of_perfect"], 1.0);
  for (const Json& prompt : json["prompts"]) {
    EXPECT_GT(prompt["ids"].size(), 0U);
    EXPECT_EQ(prompt["mask"], Json(std::vector<int>(prompt["ids"].size(), 0)));
  }
  has(o.err, {"orchestrator.env.0.args.data = \"" + (*world_ / "prompts.jsonl") + "\" (command line)"});
  const auto trainer =
      world_->run({"trainer", "--data.fake", "--model.name", *world_ / "model", "--model.seq-len", "64",
                   "--output-dir", *world_ / "dry-trainer", "--max-steps", "2", "--dry-run", "--json"});
  ASSERT_EQ(trainer.code, 0) << trainer.err;
  EXPECT_FALSE(fs::exists(*world_ / "dry-trainer"));
  EXPECT_GT(Json::parse(trainer.out)["memory"]["planned"], 0);
}

TEST_F(Start, NamesOfElsewhereAreErrorsWithPlaceAndOurName) {
  const std::vector<std::pair<std::string, std::string>> names = {
      {"[optim]\nlearning_rate = 1e-3", "optim.lr"},
      {"[optim]\nmax_grad_norm = 1", "optim.max_norm"},
      {"[optim]\nadam_beta1 = 0.9", "optim.betas1"},
      {"[data]\nper_device_train_batch_size = 2", "data.micro_batch_size"},
      {"[data]\nmax_seq_length = 64", "data.seq_len"},
      {"[data]\ndataset_name = \"x\"", "data.name"},
      {"[scheduler]\nlr_scheduler_type = \"cosine\"", "scheduler.type"},
      {"[model]\nmodel_name_or_path = \"x\"", "model.name"},
      {"[ckpt]\nsave_steps = 2", "ckpt.interval"},
      {"seed = 1\nnum_train_epochs = 3", "max_steps"}};
  for (const auto& [text, ours] : names) {
    const std::string file = write("names.toml", text + "\n");
    refused({"sft", "@", file}, {"error: " + file + ":2:1: ", "is not a known key",
                                 "help: the key probably meant is " + ours + "\n"});
  }
  refused({"sft", "--optim.learning-rate", "1e-3"},
          {"--optim.learning-rate", "probably meant is --optim.lr\n"});
  refused({"rl", "--orchestrator.num-generations", "4"}, {"is --orchestrator.rollouts_per_example\n"});
}

TEST_F(Start, AResumedRunNamesTheKeysThatDiffer) {
  ASSERT_EQ(world_->run(world_->sft("changed", {"--max-steps", "2"})).code, 0);
  auto again = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--ckpt.resume-step", "-1"};
    words.insert(words.end(), more.begin(), more.end());
    const auto o = world_->run(world_->sft("changed", words));
    EXPECT_EQ(o.code, 0) << o.err;
    return o.err;
  };
  const std::string same =
      again({"--max-steps", "3", "--log.level", "debug", "--threads", "2", "--ckpt.keep-last", "9"});
  EXPECT_EQ(same.find("the configuration is not the one"), std::string::npos) << same;
  const std::string other =
      again({"--max-steps", "4", "--optim.weight-decay", "0.5", "--data.micro-batch-size", "2"});
  has(other, {"the configuration is not the one", "optim.weight_decay = 0.5 (was 0.01)",
              "data.micro_batch_size = 2 (was 1)"});
  EXPECT_EQ(other.find("optim.lr = "), other.rfind("optim.lr = ")) << "only in the banner\n" << other;
  ASSERT_EQ(world_
                ->run(world_->sft("cosine", {"--max-steps", "2", "--scheduler.type", "cosine",
                                             "--scheduler.warmup-steps", "1"}))
                .code,
            0);
  const auto longer =
      world_->run(world_->sft("cosine", {"--max-steps", "3", "--scheduler.type", "cosine",
                                         "--scheduler.warmup-steps", "1", "--ckpt.resume-step", "-1"}));
  EXPECT_EQ(longer.code, 0) << longer.err;
  EXPECT_EQ(longer.err.find("the configuration is not the one"), std::string::npos) << longer.err;
  has(longer.err, {"max_steps = 3 (was 2): the learning rate now decays over the new length"});
}

TEST_F(Start, AnInterruptedRunWithoutACheckpointBeginsAgain) {
  // The prompts come through a pipe, so the signal arrives before the first step.
  const std::string pipe = *world_ / "pipe.jsonl";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  auto words = rl("early");
  *std::find(words.begin(), words.end(), *world_ / "prompts.jsonl") = pipe;
  const pid_t pid = world_->start(words, *world_ / "o", *world_ / "e");
  std::ofstream prompts(pipe);  // waits for the reader
  kill(pid, SIGINT);
  prompts << "{\"prompt\": \"ab\"}\n{\"prompt\": \"cd\"}\n";
  prompts.close();
  EXPECT_EQ(SftWorld::wait_for(pid), 130) << slurp(*world_ / "e");
  const std::string out = slurp(*world_ / "o");
  has(out, {"RL stopped by SIGINT after step 0", " --clean\n"});
  EXPECT_EQ(out.find("--ckpt.resume-step"), std::string::npos) << out;
  EXPECT_FALSE(fs::exists(*world_ / "early/checkpoints/step_0"));
  EXPECT_FALSE(fs::exists(*world_ / "early/curves.svg")) << "a plot of nothing";
}

// What a start that fails leaves (its log, files without a value) is not the work of a run: the same
// directory serves the next start, and only a run that made a step keeps it.
TEST_F(Start, AStartThatFailedDoesNotUseUpItsDirectory) {
  HubServer server;  // holds a port
  const std::string port = server.url().substr(server.url().rfind(':') + 1);
  const std::vector<std::vector<std::string>> failing = {
      {"--ckpt.resume-step", "7"},
      {"--data.name", *world_ / "nowhere"},
      {"--model.name", *world_ / "nothing"},
      {"--memory-limit", "100KiB"},
      {"--optim.lr", "-1"},
      {"--metrics-server.port", port, "--metrics-server.host", "127.0.0.1"}};
  for (const auto& more : failing) {
    const auto o = world_->run(world_->sft("failed", more));
    EXPECT_TRUE(o.code == 2 || o.code == 3) << more.front() << ": " << o.code << "\n" << o.err;
    EXPECT_EQ(o.err.find("was used by another run"), std::string::npos) << more.front() << "\n" << o.err;
  }
  EXPECT_EQ(world_->run(rl("failed-rl", {"--ckpt.resume-step", "7"})).code, 2);
  EXPECT_GT(fs::file_size(*world_ / "failed/logs/trainer.log"), 0U);
  EXPECT_FALSE(fs::is_empty(*world_ / "failed/tensorboard"));
  const auto o = world_->run(world_->sft("failed", {"--max-steps", "2"}));
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(world_->metrics("failed").size(), 2U);
  EXPECT_EQ(world_->run(rl("failed-rl")).code, 0);
  refused(world_->sft("failed"), {"was used by another run"});
  refused(rl("failed-rl"), {"was used by another run"});
  // Any of a run's results does it.
  for (const char* entry : {"metrics.jsonl", "checkpoints", "weights"}) {
    fs::remove_all(*world_ / ("failed/" + std::string(entry)));
  }
  refused(world_->sft("failed"), {"was used by another run"});  // TensorBoard's file has values
  fs::remove_all(*world_ / "failed/tensorboard");
  fs::remove(*world_ / "failed/loss.svg");
  EXPECT_EQ(world_->run(world_->sft("failed", {"--max-steps", "1"})).code, 0);
}

TEST_F(Start, SettingsOfEnvironmentsThatCannotWork) {
  refused(rl("r", {"--orchestrator.rollouts-per-example", "1"}),
          {"orchestrator.rollouts_per_example = 1 leaves nothing to learn from", "advantage"});
  EXPECT_EQ(world_
                ->run(rl("r1", {"--orchestrator.rollouts-per-example", "1", "--orchestrator.advantage",
                                "None", "--dry-run"}))
                .code,
            0);
  refused(rl("r", {"--orchestrator.env.0.args.holdout", "some"}),
          {"error: command line: args.holdout of environment"});
  const std::string file =
      write("env.toml", "[[orchestrator.env]]\nid = \"reverse-text\"\n[orchestrator.env.args]\nhold = 3\n");
  auto words = rl("r");
  words.insert(words.begin() + 1, {"@", file});
  refused(words, {"error: " + file + ":4: environment 'reverse-text' has no argument 'hold'"});
  const auto o = world_->run(rl(
      "r2", {"--orchestrator.val.num-examples", "10", "--orchestrator.val.env.0.args.data",
             *world_ / "prompts.jsonl", "--orchestrator.val.env.0.args.system-prompt", "None", "--dry-run"}));
  EXPECT_EQ(o.code, 0) << o.err;
  has(o.err, {"orchestrator.val.num_examples is 10, but reverse-text has 3: validation is on 3 prompts"});
}

TEST_F(Start, ATokenizerIsToldWhatIsWrongWithARow) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  for (const auto& [text, part] :
       {std::pair{"{\"text\": " + deep + "}", "nested 1000001 levels deep"},
        std::pair{std::string("{\"text\": 1e999}"), "beyond what JSON's readers hold"},
        std::pair{std::string("{\"text\": \"\xff\"}"), "not UTF-8"}}) {
    const std::string file = write("row.jsonl", text + "\n");
    refused({"tokenize", "train", "--data", file, "--out", *world_ / "no-tokenizer"},
            {"error: " + file + ":1: ", part});
  }
}

TEST_F(Start, ATokenizerIsNotWrittenOver) {
  const std::string file = write("words.txt", "one two three one two\n"), out = *world_ / "kept";
  const std::vector<std::string> train = {"tokenize", "train", "--data", file, "--out", out};
  ASSERT_EQ(world_->run(train).code, 0);
  const std::string before = slurp(out + "/tokenizer.json");
  write("words.txt", "four five four five\n");
  refused(train, {out + "/tokenizer.json is there already", "--clean"});
  EXPECT_EQ(slurp(out + "/tokenizer.json"), before);
  fs::remove(out + "/tokenizer.json");
  refused(train, {out + "/tokenizer_config.json is there already"});
  auto over = train;
  over.emplace_back("--clean");
  EXPECT_EQ(world_->run(over).code, 0);
  EXPECT_NE(slurp(out + "/tokenizer.json"), before);
  refused({"tokenize", "train", "--data", file, "--out", file}, {file + " is a file"});
}

TEST_F(Start, ATokenizerIsOfText) {
  const std::string file = write("latin.txt", "one\ncaf\xe9\n");
  refused({"tokenize", "train", "--data", file, "--out", *world_ / "no-tokenizer"},
          {"error: " + file + ":2: the line is not UTF-8"});
  const auto o = world_->run({"tokenize", "render", *world_ / "tokenizer"}, write("nothing", ""));
  EXPECT_EQ(o.code, 2);
  has(o.err, {"the conversation on stdin is not valid JSON", "it is empty"});
}

TEST_F(Start, ATokenizerNeedsText) {
  for (const char* text : {"", "\n \n"}) {
    const std::string file = write("none.txt", text);
    refused({"tokenize", "train", "--data", file, "--out", *world_ / "no-tokenizer"},
            {"error: there is no text to learn a tokenizer from in " + file});
    EXPECT_FALSE(fs::exists(*world_ / "no-tokenizer"));
  }
}

}  // namespace
}  // namespace rlcpp::test
