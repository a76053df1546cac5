#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include <mutex>
#include <queue>

#include "base/error.h"
#include "base/log.h"
#include "tokenizer/byte_alphabet.h"

namespace rlcpp::tokenizer {
namespace {

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

constexpr std::size_t kShards = 32;
constexpr std::size_t kWordsPerShard = 4096;
constexpr std::size_t kLongestCachedWord = 64;
constexpr std::size_t kLongestScannedWord = 64;  // longer ones take the heap: a scan is quadratic

}  // namespace

void MergeTable::reserve(std::size_t count) {
  std::size_t slots = 16;
  while (slots < 2 * count) slots *= 2;
  slots_.assign(slots, Entry{});
  count_ = 0;
}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  std::uint64_t hash = pair * 0x9E3779B97F4A7C15ULL;
  hash ^= hash >> 32;
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot].pair != kEmpty && slots_[slot].pair != pair) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::put(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t id) {
  Entry& entry = slots_[slot_of(pair_of(left, right))];
  count_ += entry.pair == kEmpty;
  RLCPP_CHECK(2 * count_ <= slots_.size() + 2);
  entry = {pair_of(left, right), rank, id};
}

const MergeTable::Entry* MergeTable::find(std::int32_t left, std::int32_t right) const {
  const Entry& entry = slots_[slot_of(pair_of(left, right))];
  return entry.pair == kEmpty ? nullptr : &entry;
}

// Words seen lately. Split by hash, so that threads seldom wait for each other; a full part starts afresh. It
// can only save time: what it returns is what compute() would.
struct Bpe::Cache {
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<std::int32_t>, StringHash, std::equal_to<>> words;
  };
  std::array<Shard, kShards> shards;
};

Bpe::Bpe(const Definition& definition) : fuse_unk_(definition.fuse_unk), cache_(std::make_unique<Cache>()) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  ids.reserve(definition.vocab.size() * 2);
  for (const auto& [token, id] : definition.vocab) ids.emplace(token, id);

  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::string token = to_alphabet(std::string(1, static_cast<char>(byte)));
    const auto found = ids.find(token);
    byte_ids_[byte] = found == ids.end() ? -1 : found->second;
  }
  const auto need = [&](const std::string& token, std::size_t index) {
    const auto found = ids.find(token);
    if (found == ids.end()) {
      throw bad_input(fmt::format("{}: model.merges[{}] needs the token {}, which the vocabulary lacks",
                                  definition.where, index, token));
    }
    return found->second;
  };
  merges_.reserve(definition.merges.size());
  for (std::size_t i = 0; i < definition.merges.size(); ++i) {
    const auto& [left, right] = definition.merges[i];
    const std::int32_t merged = need(left + right, i);
    merges_.put(need(left, i), need(right, i), static_cast<std::uint32_t>(i), merged);
  }
  if (definition.ignore_merges) {
    for (const auto& [token, id] : definition.vocab) {
      if (const auto bytes = from_alphabet(token)) words_.emplace(*bytes, id);
    }
  }
  if (!definition.unk_token.empty()) {
    const auto found = ids.find(definition.unk_token);
    if (found == ids.end()) {
      throw bad_input(fmt::format("{}: model.unk_token is {}, which the vocabulary lacks", definition.where,
                                  definition.unk_token));
    }
    unk_id_ = found->second;
  }
}

Bpe::~Bpe() = default;
Bpe::Bpe(Bpe&&) noexcept = default;

void Bpe::encode_word(std::string_view bytes, std::vector<std::int32_t>& out) const {
  if (bytes.size() > kLongestCachedWord) {
    compute(bytes, out);
    return;
  }
  Cache::Shard& shard = cache_->shards[(StringHash{}(bytes) >> 20) % kShards];
  {
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.words.find(bytes);
    if (found != shard.words.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      return;
    }
  }
  std::vector<std::int32_t> ids;
  compute(bytes, ids);
  out.insert(out.end(), ids.begin(), ids.end());
  const std::lock_guard lock(shard.mutex);
  if (shard.words.size() >= kWordsPerShard) shard.words.clear();
  shard.words.emplace(bytes, std::move(ids));
}

void Bpe::compute(std::string_view bytes, std::vector<std::int32_t>& out) const {
  if (!words_.empty()) {
    const auto found = words_.find(std::string(bytes));
    if (found != words_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  std::vector<std::int32_t> symbols;
  symbols.reserve(bytes.size());
  bool after_unk = false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    const std::int32_t id = byte_ids_[byte];
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unk_id_ >= 0) {
      if (!(after_unk && fuse_unk_)) symbols.push_back(unk_id_);
    }
    after_unk = id < 0;
  }
  merge(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

namespace {

// Candidates of the heap: the smallest rank first, then the leftmost.
struct Candidate {
  std::uint32_t rank;
  std::int32_t position;
  std::int32_t left;
  std::int32_t right;
  std::int32_t merged;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

void merge_by_scan(const MergeTable& merges, std::vector<std::int32_t>& symbols) {
  while (symbols.size() > 1) {
    const MergeTable::Entry* best = nullptr;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeTable::Entry* entry = merges.find(symbols[i], symbols[i + 1]);
      if (entry != nullptr && (best == nullptr || entry->rank < best->rank)) {
        best = entry;
        best_at = i;
      }
    }
    if (best == nullptr) return;
    symbols[best_at] = best->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

void merge_by_heap(const MergeTable& merges, std::vector<std::int32_t>& symbols) {
  const auto count = static_cast<std::int32_t>(symbols.size());
  std::vector<std::int32_t> next(symbols.size());
  std::vector<std::int32_t> previous(symbols.size());
  const auto at = [](std::int32_t i) { return static_cast<std::size_t>(i); };
  for (std::int32_t i = 0; i < count; ++i) {
    next[at(i)] = i + 1 < count ? i + 1 : -1;
    previous[at(i)] = i - 1;
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  const auto consider = [&](std::int32_t i) {
    if (i < 0 || next[at(i)] < 0) return;
    const std::int32_t left = symbols[at(i)];
    const std::int32_t right = symbols[at(next[at(i)])];
    if (const auto* entry = merges.find(left, right)) heap.push({entry->rank, i, left, right, entry->id});
  };
  for (std::int32_t i = 0; i + 1 < count; ++i) consider(i);
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    const std::int32_t i = top.position;
    const std::int32_t j = symbols[at(i)] == top.left ? next[at(i)] : -1;
    if (j < 0 || symbols[at(j)] != top.right) continue;  // one of the two has been merged since
    symbols[at(i)] = top.merged;
    symbols[at(j)] = -1;
    next[at(i)] = next[at(j)];
    if (next[at(j)] >= 0) previous[at(next[at(j)])] = i;
    consider(previous[at(i)]);
    consider(i);
  }
  std::erase(symbols, -1);
}

}  // namespace

void Bpe::merge(std::vector<std::int32_t>& symbols) const {
  if (symbols.size() <= kLongestScannedWord) {
    merge_by_scan(merges_, symbols);
  } else {
    merge_by_heap(merges_, symbols);
  }
}

}  // namespace rlcpp::tokenizer
