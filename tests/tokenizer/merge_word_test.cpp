// Merging a word is one function, however long the word and wherever its windows part: compared with the
// plain loop that defines it, over random tables and words and over Qwen3's.
#include "tokenizer/merge_word.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <random>
#include <string>
#include <unordered_map>

#include "data_path.h"
#include "support.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/definition.h"
#include "tokenizer/qwen3.h"

namespace rlcpp::tokenizer {
namespace {

using Ids = std::vector<std::int32_t>;

struct PairHash {
  std::size_t operator()(const std::pair<std::int32_t, std::int32_t>& pair) const {
    return static_cast<std::size_t>(pair.first) * 1'000'003 + static_cast<std::size_t>(pair.second);
  }
};
struct Merge {
  std::int32_t rank;
  std::int32_t id;
};
using Ranks = std::unordered_map<std::pair<std::int32_t, std::int32_t>, Merge, PairHash>;

// The definition itself.
Ids plain_merge(const Ranks& ranks, Ids symbols) {
  for (;;) {
    auto best = ranks.end();
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end()) continue;
      if (best != ranks.end() && best->second.rank <= found->second.rank) continue;
      best = found;
      best_at = i;
    }
    if (best == ranks.end()) return symbols;
    symbols[best_at] = best->second.id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

MergeTable table_of(const Ranks& ranks) {
  MergeTable table;
  table.reserve(ranks.size());
  for (const auto& [pair, merge] : ranks) table.put(pair.first, pair.second, merge.rank, merge.id);
  return table;
}

// Tokens are strings over a few letters. Ranks have nothing to do with the order in which tokens came to be,
// so a table may hold what no training would make: merges that undo the order of others, several ways to one
// token.
Ranks random_ranks(std::mt19937_64& random, std::size_t letters, std::size_t merges) {
  std::vector<std::string> tokens;
  std::map<std::string, std::int32_t> ids;
  const auto id_of = [&](const std::string& token) {
    const auto [at, fresh] = ids.emplace(token, static_cast<std::int32_t>(tokens.size()));
    if (fresh) tokens.push_back(token);
    return at->second;
  };
  for (std::size_t i = 0; i < letters; ++i) id_of(std::string(1, static_cast<char>('a' + i)));
  std::vector<std::int32_t> order(merges);
  for (std::size_t i = 0; i < merges; ++i) order[i] = static_cast<std::int32_t>(i);
  if (random() % 2 == 0) std::shuffle(order.begin(), order.end(), random);
  Ranks ranks;
  for (std::size_t i = 0; i < merges; ++i) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    if (left.size() + right.size() > 40) continue;
    const std::int32_t merged = id_of(left + right);
    ranks[{ids.at(left), ids.at(right)}] = {order[i], merged};
  }
  return ranks;
}

// Letters at random, runs of one letter, and short pieces many times.
Ids random_word(std::mt19937_64& random, std::size_t letters, std::size_t length) {
  Ids word;
  const auto letter = [&] { return static_cast<std::int32_t>(random() % letters); };
  while (word.size() < length) {
    const std::size_t kind = random() % 3;
    Ids piece;
    for (std::size_t k = kind == 1 ? 1 : 1 + random() % 6; k-- > 0;) piece.push_back(letter());
    for (std::size_t k = kind == 0 ? 1 : 1 + random() % 50; k-- > 0;)
      word.insert(word.end(), piece.begin(), piece.end());
  }
  word.resize(length);
  return word;
}

TEST(MergeWord, EqualsThePlainLoopWhateverTheWindow) {
  const std::uint64_t seed = test::fresh_seed();
  std::mt19937_64 random(seed);
  const int rounds = test::long_tier() ? 20'000 : test::kSanitized ? 300 : 2000;
  for (int i = 0; i < rounds; ++i) {
    const std::size_t letters = 1 + random() % 5;
    const Ranks ranks = random_ranks(random, letters, 1 + random() % 60);
    const MergeTable table = table_of(ranks);
    const Ids word = random_word(random, letters, random() % (i % 20 == 0 ? 600 : 150));
    const Ids expected = plain_merge(ranks, word);
    for (const std::size_t window : {1u, 2u, 3u, 7u, 16u, 64u, 100u, 1024u}) {
      Ids got = {-7};  // what is there stays
      merge_word(table, word, got, window);
      ASSERT_EQ(got.front(), -7);
      ASSERT_EQ(Ids(got.begin() + 1, got.end()), expected)
          << "window " << window << ", seed " << seed << ", round " << i;
    }
  }
}

// Symbols 0, 1, 2, ..., every two neighbours a merge, the later the earlier: the end of the word decides over
// its beginning, so no border between windows holds.
TEST(MergeWord, AWordWhoseEndDecidesOverItsBeginning) {
  for (const std::int32_t count : {1999, 2000, 5001, test::kSanitized ? 20'000 : 300'001}) {
    MergeTable table;
    table.reserve(static_cast<std::size_t>(count));
    Ids word;
    Ids expected;
    for (std::int32_t i = 0; i < count; ++i) {
      word.push_back(i);
      if (i + 1 < count) table.put(i, i + 1, count - i, count + i);
    }
    if (count % 2 == 1) expected.push_back(0);
    for (std::int32_t i = count % 2; i < count; i += 2) expected.push_back(count + i);
    const auto begin = std::chrono::steady_clock::now();
    Ids got;
    merge_word(table, word, got);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    ASSERT_EQ(got, expected) << count;
    EXPECT_LT(elapsed.count(), 10.0)
        << count;  // a tenth of a second on an idle core; minutes if it were quadratic
  }
}

// Words of Qwen3's table that are longer than a window, of every kind that its own pre-tokenizer leaves
// whole.
TEST(MergeWord, Qwen3LongWordsEqualThePlainLoop) {
  const Definition definition =
      parse_definition(test::unpack_xz(test::data_path("tokenizer/qwen3/tokenizer.json.xz")), "qwen3");
  std::map<std::string, std::int32_t> ids(definition.vocab.begin(), definition.vocab.end());
  Ranks ranks;
  for (std::size_t i = 0; i < definition.merges.size(); ++i) {
    const auto& [left, right] = definition.merges[i];
    ranks[{ids.at(left), ids.at(right)}] = {static_cast<std::int32_t>(i), ids.at(left + right)};
  }
  const Bpe bpe(definition);
  std::mt19937_64 random(test::fresh_seed());
  const std::vector<std::string> pieces = {"the",  "and",    "tokenizer", "ing",    "ization", "a",
                                           "Über", "straße", "敏捷的",    "コード", "q",       "learning"};
  for (int kind = 0; kind < (test::long_tier() ? 60 : 6); ++kind) {
    const std::size_t length = 1100 + random() % (test::kSanitized ? 200 : 1000);
    std::string word;
    while (word.size() < length) {
      switch (kind % 6) {
        case 0:
          word += ' ';
          break;
        case 1:
          word += std::string(1 + random() % 300, " \t\n"[random() % 3]);
          break;
        case 2:
          word += static_cast<char>('a' + random() % 26);
          break;
        case 3:
          word += pieces[random() % pieces.size()];
          break;
        case 4:
          word += static_cast<char>(random() % 256);
          break;
        default:
          word += "!-=#*"[random() % 5];
      }
    }
    Ids symbols;
    for (const char c : word) symbols.push_back(ids.at(to_alphabet(std::string(1, c))));
    Ids got;
    bpe.encode_word(word, got);
    ASSERT_EQ(got, plain_merge(ranks, symbols)) << "kind " << kind << ", " << word.size() << " bytes";
  }
}

}  // namespace
}  // namespace rlcpp::tokenizer
