#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/merge_word.h"

namespace rlcpp::tokenizer {
namespace {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

constexpr std::size_t kShards = 32;
constexpr std::size_t kWordsPerShard = 4096;
constexpr std::size_t kLongestCachedWord = 64;

}  // namespace

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
    merges_.put(need(left, i), need(right, i), static_cast<std::int32_t>(i), merged);
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
  merge_word(merges_, symbols, out);
}

}  // namespace rlcpp::tokenizer
