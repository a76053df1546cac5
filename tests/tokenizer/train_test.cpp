// Training: the merges are those of a slow and simple learner and of HF's BpeTrainer (golden), the files load
// again, and the alphabet holds what it should.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/durable.h"
#include "base/error.h"
#include "data_path.h"
#include "support.h"
#include "tokenizer/bpe_trainer.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/corpus.h"
#include "tokenizer/tokenizer.h"

namespace rlcpp::tokenizer {
namespace {

using Json = nlohmann::ordered_json;
using Pair = std::pair<std::int32_t, std::int32_t>;

// Counts everything anew before each merge.
LearnedBpe learn_slowly(const std::map<std::string, std::int64_t>& words, const std::string& alphabet,
                        std::size_t vocab_size, std::int64_t min_frequency) {
  LearnedBpe out;
  for (const char c : alphabet) out.tokens.emplace_back(1, c);
  std::vector<std::pair<std::vector<std::int32_t>, std::int64_t>> split;
  for (const auto& [word, count] : words) {
    std::vector<std::int32_t> symbols;
    for (const char c : word) symbols.push_back(static_cast<std::int32_t>(alphabet.find(c)));
    split.emplace_back(symbols, count);
  }
  while (out.tokens.size() < vocab_size) {
    std::map<Pair, std::int64_t> counts;
    for (const auto& [symbols, count] : split) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) counts[{symbols[i], symbols[i + 1]}] += count;
    }
    Pair best;
    std::int64_t most = 0;
    for (const auto& [pair, count] :
         counts) {  // in order of pairs: the first of the most frequent is the smallest
      if (count > most) {
        most = count;
        best = pair;
      }
    }
    if (most < min_frequency) break;
    const std::string token =
        out.tokens[static_cast<std::size_t>(best.first)] + out.tokens[static_cast<std::size_t>(best.second)];
    auto known = std::find(out.tokens.begin(), out.tokens.end(), token);
    const auto id = static_cast<std::int32_t>(known - out.tokens.begin());
    if (known == out.tokens.end()) out.tokens.push_back(token);
    out.merges.push_back(best);
    for (auto& [symbols, count] : split) {
      std::vector<std::int32_t> merged;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        if (i + 1 < symbols.size() && Pair(symbols[i], symbols[i + 1]) == best) {
          merged.push_back(id);
          ++i;
        } else {
          merged.push_back(symbols[i]);
        }
      }
      symbols = merged;
    }
  }
  return out;
}

TEST(Train, LearnsWhatTheSimpleLearnerLearns) {
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 60; ++round) {
    std::map<std::string, std::int64_t> words;
    const std::size_t letters = 2 + random() % 4;  // few letters: many ties and overlaps
    for (int i = 0; i < 40; ++i) {
      std::string word;
      for (std::size_t k = 1 + random() % 12; k-- > 0;)
        word.push_back(static_cast<char>('a' + random() % letters));
      words[word] += static_cast<std::int64_t>(1 + random() % 5);
    }
    const std::string alphabet = std::string("edcba").substr(5 - letters);
    const LearnedBpe fast = learn_bpe(words, alphabet, 60, 2, {});
    const LearnedBpe slow = learn_slowly(words, alphabet, 60, 2);
    ASSERT_EQ(fast.merges, slow.merges);
    ASSERT_EQ(fast.tokens, slow.tokens);
  }
}

std::vector<std::string> corpus() {
  return read_texts({test::data_path("tokenizer/train.txt")});
}

TEST(Train, MergesAndIdsAreThoseOfHf) {
  const Json golden = Json::parse(durable::read_file(test::data_path("tokenizer/train.golden.json")));
  const test::TemporaryDirectory out;
  TrainOptions options;
  options.vocab_size = golden["vocab_size"];
  options.added_tokens = golden["added_tokens"].get<std::vector<std::string>>();
  std::int64_t last = -1;
  std::int64_t total = 0;
  options.progress = [&](std::int64_t done, std::int64_t all) {
    EXPECT_GE(done, last);
    last = done;
    total = all;
  };
  const TrainResult result = train_tokenizer(corpus(), options, out.path());
  EXPECT_EQ(result.vocab_size, options.vocab_size);
  EXPECT_EQ(last, total);
  const Json model = Json::parse(durable::read_file(out / "tokenizer.json"))["model"];
  EXPECT_EQ(model["merges"], golden["merges"]);
  const Tokenizer tokenizer = Tokenizer::load(out.path());
  EXPECT_EQ(tokenizer.vocab_size(), options.vocab_size);
  for (const auto& [token, id] : golden["ids"].items()) EXPECT_EQ(tokenizer.id_of(token), id) << token;
  for (const Json& row : golden["encoded"]) {
    EXPECT_EQ(tokenizer.encode(row[0].get<std::string>()), row[1].get<std::vector<std::int32_t>>()) << row[0];
  }
}

TEST(Train, TheSameTextsGiveTheSameFile) {
  const test::TemporaryDirectory a, b;
  TrainOptions options;
  options.vocab_size = 400;
  train_tokenizer(corpus(), options, a.path());
  train_tokenizer(corpus(), options, b.path());
  EXPECT_EQ(durable::read_file(a / "tokenizer.json"), durable::read_file(b / "tokenizer.json"));
}

TEST(Train, CharactersAlone) {
  const test::TemporaryDirectory out;
  TrainOptions options;
  options.vocab_size = 64;
  options.only_seen_bytes = true;
  options.merges = false;
  options.added_tokens = {"<reversed_text>", "</reversed_text>"};
  const TrainResult result =
      train_tokenizer({"hello world", "<reversed_text>dlrow</reversed_text>"}, options, out.path());
  EXPECT_EQ(result.merges, 0);
  const Tokenizer tokenizer = Tokenizer::load(out.path());
  EXPECT_EQ(tokenizer.vocab_size(), result.alphabet + 5);
  EXPECT_EQ(tokenizer.encode("hello").size(), 5u);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<reversed_text>lo</reversed_text>")),
            "<reversed_text>lo</reversed_text>");
  EXPECT_EQ(tokenizer.encode("<reversed_text>lo</reversed_text>").size(), 4u);
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.eos_id()), "<|im_end|>");
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.pad_id()), "<|endoftext|>");
  EXPECT_EQ(tokenizer.id_of("<"), -1) << "only the added tokens have it";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("quiz")), "ui");
  EXPECT_EQ(tokenizer.lost_bytes("quiz"), 2U);
  // The roles that the template names can be encoded though the text has none.
  const std::string chat =
      ChatTemplate(tokenizer.chat_template())
          .render(
              Json::parse(R"([{"role": "system", "content": "hello"}, {"role": "user", "content": "world"},
                                   {"role": "assistant", "content": "old"}, {"role": "tool", "content": "r"}])"),
              true, {});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(chat)), chat);
  EXPECT_EQ(chat.substr(0, 36), "<|im_start|>system\nhello<|im_end|>\n<");
}

TEST(Train, RefusesWhatCannotBe) {
  const test::TemporaryDirectory out;
  const auto refuses = [&](TrainOptions options, const std::string& word) {
    try {
      train_tokenizer({"abc"}, options, out.path());
      FAIL() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(error.render().find(word), std::string::npos) << error.render();
    }
  };
  TrainOptions options;
  options.vocab_size = 200;
  refuses(options, "at least 259");
  options.only_seen_bytes = true;
  options.vocab_size = 5;
  refuses(options, "vocab_size 5 is too small");
  options.vocab_size = 300;
  options.added_tokens = {"<a>", "<a>"};
  refuses(options, "<a> is given twice");
  options.added_tokens = {"<|im_end|>"};
  refuses(options, "<|im_end|>");
  options.added_tokens = {""};
  refuses(options, "not empty");
}

TEST(Corpus, ReadsRowsAndLines) {
  const test::TemporaryDirectory dir;
  std::ofstream(dir / "b.jsonl")
      << R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yo"}], "tool_calls": [{"id": "x1", "type": "function", "function": {"name": "f", "arguments": {"k": "v"}}}]}], "other": "no"})"
      << "\n\n"
      << R"({"prompt": [{"role": "user", "content": "p"}], "completion": "c", "text": "t"})"
      << "\n";
  std::ofstream(dir / "c.txt") << "one\n\ntwo";
  EXPECT_EQ(read_texts({dir / "b.jsonl", dir / "c.txt"}),
            (std::vector<std::string>{"hi", "yo", "v", "f", "p", "c", "t", "one\n", "two\n"}));
  const auto refuses = [&](const std::string& content, const std::string& word) {
    std::ofstream(dir / "bad.jsonl") << content;
    try {
      read_texts({dir / "bad.jsonl"});
      FAIL() << content;
    } catch (const Error& error) {
      EXPECT_NE(error.render().find(word), std::string::npos) << error.render();
    }
  };
  refuses("{\"text\": \"x\"}\n{\"text\": ", "bad.jsonl:2");
  refuses("[1]\n", "bad.jsonl:1");
  refuses("{\"question\": 1}\n", "messages, prompt, completion");
  EXPECT_THROW(read_texts({dir / "none.txt"}), Error);
}

}  // namespace
}  // namespace rlcpp::tokenizer
