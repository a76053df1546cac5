// `rlcpp convert` and `rlcpp chat`, as a user meets them.
#include <nlohmann/json.hpp>

#include "hub/gguf_file.h"
#include "sft_run.h"

namespace rlcpp::test {
namespace {

using Json = nlohmann::json;

class Chat : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world_ = new SftWorld;
    const auto o = world_->run(world_->sft("trained", {"--max-steps", "60"}));
    EXPECT_EQ(o.code, 0) << o.err;
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static std::string model() { return *world_ / "trained/weights/step_60"; }
  static ProcessOutcome chat(const std::vector<std::string>& more, const std::string& input = "") {
    std::vector<std::string> words = {"chat", model(), "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return world_->run(words, world_->file("input", input));
  }
  static std::vector<Json> replies(const ProcessOutcome& o) {
    EXPECT_EQ(o.code, 0) << o.err;
    std::vector<Json> all;
    std::istringstream stream(o.out);
    for (std::string line; std::getline(stream, line);) all.push_back(Json::parse(line));
    return all;
  }
  static SftWorld* world_;
};
SftWorld* Chat::world_ = nullptr;

TEST_F(Chat, OneAnswerAsTextAndAsJson) {
  const auto text = chat({"--prompt", "say 3", "--max-tokens", "20"});
  EXPECT_EQ(text.code, 0) << text.err;
  const auto all = replies(chat({"--prompt", "say 3", "--max-tokens", "20", "--json"}));
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(text.out, all[0]["text"].get<std::string>() + "\n");
  EXPECT_LE(all[0]["ids"].size(), 20U);
  EXPECT_GE(all[0]["ids"].size(), 1U);
  EXPECT_GT(all[0]["prompt_tokens"], 4);
}

// Greedy means: each token is one of the likeliest by the scores of `rlcpp logprobs`, an independent path.
TEST_F(Chat, GreedyTakesTheLikeliest) {
  const auto reply = replies(chat({"--prompt", "say 5", "--max-tokens", "6", "--json"})).at(0);
  const auto rendered = world_->run({"tokenize", "render", model(), "--add-generation-prompt", "--json"},
                                    world_->file("c.json", R"([{"role": "user", "content": "say 5"}])"));
  std::vector<int> ids = Json::parse(rendered.out)["ids"];
  ASSERT_EQ(static_cast<std::size_t>(reply["prompt_tokens"]), ids.size());
  const int vocabulary = Json::parse(slurp(model() + "/config.json"))["vocab_size"].get<int>();
  for (const int taken : reply["ids"].get<std::vector<int>>()) {
    std::string rows;
    for (int id = 0; id < vocabulary; ++id) {
      std::vector<int> row = ids;
      row.push_back(id);
      rows += Json{{"ids", row}}.dump() + "\n";
    }
    const auto scored = world_->run({"logprobs", "--model.name", model(), "--data",
                                     world_->file("rows.jsonl", rows), "--device", "cpu", "--threads", "1"});
    ASSERT_EQ(scored.code, 0) << scored.err;
    std::istringstream stream(scored.out);
    double best = -1e30, mine = -1e30;
    int id = 0;
    for (std::string line; std::getline(stream, line); ++id) {
      const double value = Json::parse(line)["logprobs"].back();
      best = std::max(best, value);
      if (id == taken) mine = value;
    }
    EXPECT_EQ(id, vocabulary);
    EXPECT_EQ(mine, best);
    ids.push_back(taken);
  }
}

TEST_F(Chat, AConversationGrowsAndBeginsAnew) {
  const auto all = replies(chat({"--max-tokens", "5", "--json"}, "say 1\n\nsay 2\n/new\nsay 1\n"));
  ASSERT_EQ(all.size(), 3U);
  EXPECT_GT(all[1]["prompt_tokens"], all[0]["prompt_tokens"]);
  EXPECT_EQ(all[2]["prompt_tokens"], all[0]["prompt_tokens"]);
  EXPECT_EQ(all[2]["ids"], all[0]["ids"]);
}

TEST_F(Chat, SamplesDependOnTheSeedAlone) {
  const std::vector<std::string> hot = {"--prompt",     "say 1", "--temperature", "3",
                                        "--max-tokens", "30",    "--json"};
  auto other = hot;
  other.insert(other.end(), {"--seed", "1"});
  const auto first = replies(chat(hot)).at(0)["ids"];
  EXPECT_EQ(first, replies(chat(hot)).at(0)["ids"]);
  EXPECT_NE(first, replies(chat(other)).at(0)["ids"]);
}

TEST_F(Chat, ASystemMessageIsRendered) {
  const auto bare = replies(chat({"--prompt", "say 1", "--max-tokens", "1", "--json"})).at(0);
  const auto with =
      replies(chat({"--prompt", "say 1", "--max-tokens", "1", "--json", "--system", "say 9"})).at(0);
  EXPECT_GT(with["prompt_tokens"], bare["prompt_tokens"]);
}

TEST_F(Chat, RefusesInOneSentence) {
  const auto refused = [](const std::vector<std::string>& words, const std::vector<std::string>& parts,
                          const std::string& input = "") {
    const auto o = chat(words, input);
    EXPECT_EQ(o.code, 2) << o.err;
    expect_has(o.err, parts);
  };
  refused({"--prompt", "say", "--context", "4"}, {"longer than its window", "--context"});
  refused({"--prompt", "say", "--variables", "[1]"}, {"--variables must be a JSON object"});
  refused({"--prompt", "say", "--variables",
           "{\"a\": " + std::string(60'000, '[') + std::string(60'000, ']') + "}"},
          {"--variables must be a JSON object"});
  refused({"--prompt", "say", "--temperature", "-1"}, {"temperature"});
  const auto absent = world_->run({"chat", *world_ / "absent", "--prompt", "say"});
  EXPECT_EQ(absent.code, 2);
  expect_has(absent.err, {"absent"});
}

// A Llama of two layers with a byte vocabulary, as a GGUF file.
std::string tiny_gguf(bool infinite = false) {
  GgufWriter w;
  w.text("general.architecture", "llama");
  w.u32("llama.block_count", 1);
  w.u32("llama.context_length", 64);
  w.u32("llama.embedding_length", 16);
  w.u32("llama.feed_forward_length", 24);
  w.u32("llama.attention.head_count", 2);
  w.u32("llama.attention.head_count_kv", 1);
  w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  w.text("tokenizer.ggml.model", "gpt2");
  w.text("tokenizer.ggml.pre", "gpt-2");
  std::vector<std::string> tokens = {"a", "b", "ab", "<s>", "</s>"};
  w.texts("tokenizer.ggml.tokens", tokens);
  w.i32s("tokenizer.ggml.token_type", {1, 1, 1, 3, 3});
  w.texts("tokenizer.ggml.merges", {"a b"});
  w.u32("tokenizer.ggml.bos_token_id", 3);
  w.u32("tokenizer.ggml.eos_token_id", 4);
  w.text("tokenizer.chat_template", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}");
  std::uint64_t state = 1;
  const auto tensor = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    std::size_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;
    std::vector<float> values(elements);
    for (float& value : values) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      value = static_cast<float>(state >> 40) / static_cast<float>(1 << 24) - 0.5F;
    }
    if (infinite) values[elements / 2] = 1e38F * 10;
    w.f32_tensor(name, shape, values);
  };
  tensor("token_embd.weight", {8, 16});
  tensor("output_norm.weight", {16});
  for (const char* norm : {"attn_norm", "ffn_norm"}) tensor(std::string("blk.0.") + norm + ".weight", {16});
  tensor("blk.0.attn_q.weight", {16, 16});
  tensor("blk.0.attn_k.weight", {8, 16});
  tensor("blk.0.attn_v.weight", {8, 16});
  tensor("blk.0.attn_output.weight", {16, 16});
  tensor("blk.0.ffn_gate.weight", {24, 16});
  tensor("blk.0.ffn_up.weight", {24, 16});
  tensor("blk.0.ffn_down.weight", {16, 24});
  return w.bytes();
}

TEST(Convert, AGgufBecomesAModelThatChatsAndTrains) {
  const World world;
  const std::string source = world.file("tiny.gguf", tiny_gguf());
  const auto dry = world.run({"convert", source, "--out", world / "model", "--dry-run"});
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_FALSE(std::filesystem::exists(world / "model"));
  const auto o = world.run({"convert", source, "--out", world / "model", "--json"});
  ASSERT_EQ(o.code, 0) << o.err;
  const Json summary = Json::parse(o.out);
  EXPECT_EQ(summary["architecture"], "LlamaForCausalLM");
  EXPECT_EQ(summary["dtype"], "f32");
  const auto again = world.run({"convert", source, "--out", world / "model"});
  EXPECT_EQ(again.code, 2);
  expect_has(again.err, {"is there already", "--out"});

  const auto chat = world.run({"chat", world / "model", "--prompt", "abba", "--max-tokens", "4", "--json"});
  ASSERT_EQ(chat.code, 0) << chat.err;
  EXPECT_EQ(Json::parse(chat.out)["prompt_tokens"], 4);  // <s> ab b a
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += "{\"prompt\": \"abab\", \"completion\": \"bb\"}\n";
  const auto sft =
      world.run({"sft", "--model.name", world / "model", "--data.name", world.file("t.jsonl", rows),
                 "--data.batch-size", "2", "--data.seq-len", "16", "--max-steps", "4", "--optim.lr", "1e-2",
                 "--output-dir", world / "out", "--threads", "1"});
  ASSERT_EQ(sft.code, 0) << sft.err;
  const auto steps = world.metrics("out");
  EXPECT_LT(steps.back()["loss/mean"].get<double>(), steps.front()["loss/mean"].get<double>());
}

TEST(Convert, RefusesInOneSentence) {
  const World world;
  const auto refused = [&](const std::string& bytes, const std::vector<std::string>& parts) {
    const std::string source = world.file("bad.gguf", bytes);
    const auto o = world.run({"convert", source, "--out", world / "model"});
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_EQ(o.err.find("error: "), o.err.rfind("error: ")) << o.err;
    EXPECT_NE(o.err.find("error: "), std::string::npos);
    expect_has(o.err, parts);
    EXPECT_FALSE(std::filesystem::exists(world / "model"));
    for (const auto& entry : std::filesystem::directory_iterator(world.dir().path()))
      EXPECT_FALSE(entry.path().filename().string().starts_with("model")) << entry.path();
  };
  const std::string whole = tiny_gguf();
  refused("", {"bad.gguf", "damaged or truncated"});
  refused("PK\3\4" + whole, {"not a GGUF file"});
  refused(whole.substr(0, 300), {"damaged or truncated"});
  refused(whole.substr(0, whole.size() - 1), {"tensor 'blk.0.ffn_down.weight'", "truncated"});
  refused(tiny_gguf(true), {"not finite"});
  GgufWriter spm;
  spm.text("general.architecture", "llama");
  refused(spm.bytes(), {"llama.block_count is missing"});
  const auto none = world.run({"convert"});
  EXPECT_EQ(none.code, 2);
  expect_has(none.err, {"needs a GGUF file"});
  const auto nowhere = world.run({"convert", world.file("t.gguf", whole)});
  EXPECT_EQ(nowhere.code, 2);
  expect_has(nowhere.err, {"--out"});
}

}  // namespace
}  // namespace rlcpp::test
