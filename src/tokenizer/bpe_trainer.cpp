#include "tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>

#include "base/error.h"

namespace rlcpp::tokenizer {
namespace {

using Pair = std::pair<std::int32_t, std::int32_t>;

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    const auto bits = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(pair.first)) << 32) |
                      static_cast<std::uint32_t>(pair.second);
    return static_cast<std::size_t>((bits * 0x9E3779B97F4A7C15ULL) >> 16);
  }
};

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count = 0;
};

struct Seen {
  std::int64_t count = 0;
  std::vector<std::int32_t> words;  // where it has ever occurred; may repeat and may be out of date
};

struct MergeCandidate {
  std::int64_t count;
  Pair pair;
  bool operator<(const MergeCandidate& other) const {  // the queue's top is the largest
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Learner {
 public:
  explicit Learner(std::vector<Word> words) : words_(std::move(words)) {
    for (std::size_t i = 0; i < words_.size(); ++i) count_pairs(i, +1, nullptr);
    for (const auto& [pair, seen] : pairs_) queue_.push({seen.count, pair});
  }

  // The best pair now, or a count of 0.
  MergeCandidate best() {
    while (!queue_.empty()) {
      MergeCandidate top = queue_.top();
      queue_.pop();
      const auto found = pairs_.find(top.pair);
      const std::int64_t count = found == pairs_.end() ? 0 : found->second.count;
      if (count == top.count && count > 0) return top;
      // Counts only fall while a candidate waits, except for pairs that merge() has pushed anew.
      if (count > 0 && count < top.count) queue_.push({count, top.pair});
    }
    return {0, {}};
  }

  void merge(const Pair& pair, std::int32_t merged) {
    std::vector<std::int32_t> where = std::move(pairs_[pair].words);
    std::sort(where.begin(), where.end());
    where.erase(std::unique(where.begin(), where.end()), where.end());
    std::vector<Pair> risen;
    for (const std::int32_t index : where) {
      const auto i = static_cast<std::size_t>(index);
      std::vector<std::int32_t>& symbols = words_[i].symbols;
      count_pairs(i, -1, nullptr);
      std::size_t out = 0;
      for (std::size_t in = 0; in < symbols.size(); ++in) {
        if (in + 1 < symbols.size() && symbols[in] == pair.first && symbols[in + 1] == pair.second) {
          symbols[out++] = merged;
          ++in;
        } else {
          symbols[out++] = symbols[in];
        }
      }
      symbols.resize(out);
      count_pairs(i, +1, &risen, merged);
    }
    pairs_.erase(pair);
    std::sort(risen.begin(), risen.end());
    risen.erase(std::unique(risen.begin(), risen.end()), risen.end());
    for (const Pair& changed : risen) {
      const auto found = pairs_.find(changed);
      if (found != pairs_.end() && found->second.count > 0) queue_.push({found->second.count, changed});
    }
  }

 private:
  // Adds or takes back what word i contributes. When `risen` is given, pairs with `merged` are new to the
  // word: they are listed there and remember the word.
  void count_pairs(std::size_t i, std::int64_t sign, std::vector<Pair>* risen, std::int32_t merged = -1) {
    const Word& word = words_[i];
    for (std::size_t s = 0; s + 1 < word.symbols.size(); ++s) {
      const Pair pair{word.symbols[s], word.symbols[s + 1]};
      Seen& seen = pairs_[pair];
      seen.count += sign * word.count;
      const bool fresh = risen == nullptr ? sign > 0 : pair.first == merged || pair.second == merged;
      if (fresh && (seen.words.empty() || seen.words.back() != static_cast<std::int32_t>(i))) {
        seen.words.push_back(static_cast<std::int32_t>(i));
      }
      if (fresh && risen != nullptr) risen->push_back(pair);
    }
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, Seen, PairHash> pairs_;
  std::priority_queue<MergeCandidate> queue_;
};

}  // namespace

LearnedBpe learn_bpe(const std::map<std::string, std::int64_t>& words, const std::string& alphabet,
                     std::int64_t vocab_size, std::int64_t min_frequency,
                     const std::function<void(std::int64_t, std::int64_t)>& progress) {
  LearnedBpe learned;
  std::unordered_map<std::string, std::int32_t> ids;
  std::array<std::int32_t, 256> byte_ids;
  byte_ids.fill(-1);
  for (const char byte : alphabet) {
    byte_ids[static_cast<unsigned char>(byte)] = static_cast<std::int32_t>(learned.tokens.size());
    ids.emplace(std::string(1, byte), static_cast<std::int32_t>(learned.tokens.size()));
    learned.tokens.emplace_back(1, byte);
  }
  std::vector<Word> split;
  split.reserve(words.size());
  for (const auto& [bytes, count] : words) {
    Word word;
    word.count = count;
    for (const char byte : bytes) {
      RLCPP_CHECK(byte_ids[static_cast<unsigned char>(byte)] >= 0);
      word.symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
    }
    split.push_back(std::move(word));
  }
  const std::int64_t total = vocab_size - static_cast<std::int64_t>(alphabet.size());
  if (total <= 0) return learned;
  Learner learner(std::move(split));
  while (static_cast<std::int64_t>(learned.tokens.size()) < vocab_size) {
    const MergeCandidate best = learner.best();
    if (best.count < std::max<std::int64_t>(min_frequency, 1)) break;
    const std::string bytes = learned.tokens[static_cast<std::size_t>(best.pair.first)] +
                              learned.tokens[static_cast<std::size_t>(best.pair.second)];
    // "a" + "bc" and "ab" + "c" make the same token; the second merge then adds no id.
    const auto [entry, fresh] = ids.emplace(bytes, static_cast<std::int32_t>(learned.tokens.size()));
    if (fresh) learned.tokens.push_back(bytes);
    learned.merges.push_back(best.pair);
    learner.merge(best.pair, entry->second);
    if (progress && learned.merges.size() % 64 == 0) {
      progress(static_cast<std::int64_t>(learned.tokens.size() - alphabet.size()), total);
    }
  }
  if (progress) progress(static_cast<std::int64_t>(learned.tokens.size() - alphabet.size()), total);
  return learned;
}

}  // namespace rlcpp::tokenizer
