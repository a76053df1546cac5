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
#include "tokenizer/merge_table.h"

namespace rlcpp::tokenizer {

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
  void compute(std::string_view bytes, std::vector<std::int32_t>& out) const;

  std::array<std::int32_t, 256> byte_ids_{};
  MergeTable merges_;
  std::unordered_map<std::string, std::int32_t> words_;  // only with ignore_merges
  std::int32_t unk_id_ = -1;
  bool fuse_unk_ = false;
  std::unique_ptr<Cache> cache_;
};

}  // namespace rlcpp::tokenizer
