// The BPE model on bytes: merges two neighbouring symbols, the best-ranked pair first, leftmost among equals
// (Sennrich, Haddow and Birch 2016, as HF's `tokenizers` runs it).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/definition.h"

namespace rlcpp::tokenizer {

// (left id, right id) -> (rank, id of the merged token): open addressing, never shrinks.
class MergeTable {
 public:
  struct Entry {
    std::uint64_t pair = kEmpty;
    std::uint32_t rank = 0;
    std::int32_t id = -1;
  };
  void reserve(std::size_t count);
  void put(std::int32_t left, std::int32_t right, std::uint32_t rank,
           std::int32_t id);  // a later one replaces
  const Entry* find(std::int32_t left, std::int32_t right) const;

 private:
  static constexpr std::uint64_t kEmpty = ~0ULL;
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Entry> slots_;
  std::size_t count_ = 0;
};

class Bpe {
 public:
  // Throws bad_input naming the file for merges whose tokens the vocabulary lacks.
  explicit Bpe(const Definition& definition);
  ~Bpe();
  Bpe(Bpe&&) noexcept;

  // Appends the ids of one word (bytes, not empty). Thread-safe; frequent words are remembered.
  // A byte without a token is left out if there is no unk token, as HF's `tokenizers` does.
  void encode_word(std::string_view bytes, std::vector<std::int32_t>& out) const;
  bool loses(std::uint8_t byte) const { return byte_ids_[byte] < 0 && unk_id_ < 0; }

 private:
  struct Cache;
  void merge(std::vector<std::int32_t>& symbols) const;
  void compute(std::string_view bytes, std::vector<std::int32_t>& out) const;

  std::array<std::int32_t, 256> byte_ids_{};
  MergeTable merges_;
  std::unordered_map<std::string, std::int32_t> words_;  // only with ignore_merges
  std::int32_t unk_id_ = -1;
  bool fuse_unk_ = false;
  std::unique_ptr<Cache> cache_;
};

}  // namespace rlcpp::tokenizer
