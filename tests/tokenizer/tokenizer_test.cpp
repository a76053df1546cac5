// Properties of encoding that no list of examples shows: round trips over random text, agreement of the two
// merge algorithms, threads, time.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "data_path.h"
#include "support.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/qwen3.h"
#include "tokenizer/utf8.h"

namespace rlcpp::tokenizer {
namespace {

using Ids = std::vector<std::int32_t>;

char32_t random_code_point(std::mt19937_64& random) {
  switch (random() % 8) {
    case 0:
    case 1:
    case 2:
      return static_cast<char32_t>(random() % 0x80);
    case 3:
      return static_cast<char32_t>(0x80 + random() % 0x780);
    case 4:
      return static_cast<char32_t>(0x300 + random() % 0x70);  // combining marks
    case 5:
      return static_cast<char32_t>(0x800 + random() % 0xD000);
    case 6:
      return static_cast<char32_t>(0xE000 + random() % 0x2000);
    default:
      return static_cast<char32_t>(0x10000 + random() % 0x100000);
  }
}

std::string random_text(std::mt19937_64& random, std::size_t length) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) append_utf8(text, random_code_point(random));
  return text;
}

TEST(Tokenizer, Qwen3EncodesTheKnownSentence) {
  EXPECT_EQ(test::qwen3().encode("Hello, world! 12345"), (Ids{9707, 11, 1879, 0, 220, 16, 17, 18, 19, 20}));
  EXPECT_EQ(test::qwen3().vocab_size(), 151669);
  EXPECT_EQ(test::qwen3().id_of("<|im_end|>"), 151645);
  EXPECT_EQ(test::qwen3().id_of("no such token"), -1);
  EXPECT_EQ(test::qwen3().token_bytes(1879), " world");
  EXPECT_TRUE(test::qwen3().is_special(151645));
  EXPECT_FALSE(test::qwen3().is_special(1879));
  EXPECT_EQ(test::qwen3().encode(""), Ids{});
}

// Qwen3 normalises to NFC, so what comes back is the normal form; Llama-3-style tokenizers give the text
// itself.
TEST(Tokenizer, DecodingGivesTheTextBack) {
  std::mt19937_64 random(test::fresh_seed());
  const Tokenizer llama = Tokenizer::load(test::data_path("tokenizer/llama3-style.tokenizer.json"));
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random, random() % 40);
    const std::string normal = normalize(text, Normalization::kNfc);
    ASSERT_EQ(test::qwen3().decode(test::qwen3().encode(text)), normal) << text;
    ASSERT_EQ(llama.decode(llama.encode(text)), text) << text;
  }
}

TEST(Tokenizer, BytesOfTokensJoinToTheText) {
  std::mt19937_64 random(test::fresh_seed());
  for (int i = 0; i < 300; ++i) {
    const std::string text = normalize(random_text(random, 30), Normalization::kNfc);
    std::string joined;
    for (const std::int32_t id : test::qwen3().encode(text)) joined += test::qwen3().token_bytes(id);
    ASSERT_EQ(joined, text);
  }
}

// Text that is not UTF-8 is read as Python's bytes.decode("utf-8", "replace") reads it.
TEST(Tokenizer, RandomBytesAreReadLossily) {
  std::mt19937_64 random(test::fresh_seed());
  for (int i = 0; i < 3000; ++i) {
    std::string bytes;
    for (std::size_t k = random() % 20; k-- > 0;) {
      bytes.push_back(static_cast<char>(random() % 4 == 0 ? random() % 128 : 0x80 + random() % 0x80));
    }
    const std::string lossy = lossy_utf8(bytes);
    ASSERT_TRUE(is_valid_utf8(lossy));
    ASSERT_EQ(lossy_utf8(lossy), lossy);
    ASSERT_EQ(test::qwen3().encode(bytes), test::qwen3().encode(lossy));
  }
  EXPECT_EQ(lossy_utf8("a\xE2\x82z\xF0\x9F\x98\xFF\xED\xA0\x80"), "a\uFFFDz\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
}

// Words of up to 64 bytes are merged by scanning, longer ones with a tree. Both are the same function, so a
// long word in which no merge crosses a border must equal its parts; here the parts are separated by a letter
// that never merges.
TEST(Tokenizer, LongWordsMergeLikeShortOnes) {
  std::mt19937_64 random(test::fresh_seed());
  const std::string json = R"({"added_tokens": [], "normalizer": null, "post_processor": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "-": 3, "ab": 4, "abc": 5, "aa": 6, "aab": 7, "bc": 8,
      "aaaa": 9, "ca": 10, "cab": 11, "bcab": 12},
      "merges": ["c a", "a a", "a b", "b c", "ab c", "aa b", "aa aa", "c ab", "bc ab"]}})";
  const Tokenizer tokenizer = Tokenizer::from_json(json, "test");
  for (int i = 0; i < 200; ++i) {
    std::string whole;
    Ids expected;
    for (int part = 0; part < 12; ++part) {
      std::string word;
      for (std::size_t k = 1 + random() % 15; k-- > 0;) word.push_back(static_cast<char>('a' + random() % 3));
      word.push_back('-');
      const Ids ids = tokenizer.encode(word);
      expected.insert(expected.end(), ids.begin(), ids.end());
      whole += word;
    }
    ASSERT_EQ(tokenizer.encode(whole), expected) << whole;
  }
}

TEST(Tokenizer, AMillionLettersTakeNoQuadraticTime) {
  const std::size_t count = test::kSanitized ? 100'000 : 1'000'000;
  test::qwen3();  // loading it is not what is measured
  const auto begin = std::chrono::steady_clock::now();
  std::string spaces(count, ' ');
  spaces += 'x';
  std::string signs(count * 3 / 10, '\n');
  signs.append(count * 3 / 10, '!');
  for (const std::string& text : {std::string(count, 'a'), spaces, signs}) {
    EXPECT_GT(test::qwen3().encode(text).size(), count / 1000);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  // Under a second on an idle core; days if it were quadratic.
  EXPECT_LT(elapsed.count(), test::kSanitized ? 60.0 : 10.0);
}

TEST(Tokenizer, ThreadsShareOne) {
  std::mt19937_64 random(test::fresh_seed());
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(random_text(random, 30) + " the quick brown fox " + std::to_string(random() % 1000));
    expected.push_back(test::qwen3().encode(texts.back()));
  }
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        wrong[t] +=
            test::qwen3().encode(texts[(i + 50 * t) % texts.size()]) != expected[(i + 50 * t) % texts.size()];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::vector<int>(4, 0)));
}

// Long tier: 5 MB/s of English on one core.
TEST(Tokenizer, IsFast) {
  if (!test::long_tier()) GTEST_SKIP() << "long tier";
  std::mt19937_64 random(test::fresh_seed());
  const std::vector<std::string> words = {
      "the",  "tokenizer", "reads", "English",       "text",     "quickly", "and",  "we",     "don't",
      "wait", "for",       "it",    "reinforcement", "learning", "models",  "2024", "rewards"};
  std::string text;
  while (text.size() < 20'000'000) {
    text += words[random() % words.size()];
    if (random() % 20 == 0) text += std::to_string(random());
    text += random() % 9 == 0 ? ".\n" : " ";
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t count = test::qwen3().encode(text).size();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  const double rate = static_cast<double>(text.size()) / elapsed.count() / 1e6;
  RecordProperty("megabytes_per_second", std::to_string(rate));
  EXPECT_GT(count, text.size() / 8);
  EXPECT_GT(rate, 5.0);
}

}  // namespace
}  // namespace rlcpp::tokenizer
