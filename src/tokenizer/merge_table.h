// The merges of a BPE model: which two neighbouring tokens become which one, and how early.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rlcpp::tokenizer {

// (left id, right id) -> (rank, id of the merged token): open addressing, never shrinks.
class MergeTable {
 public:
  struct Entry {
    std::uint64_t pair = kEmpty;
    std::int32_t rank = 0;
    std::int32_t id = -1;
  };
  void reserve(std::size_t count);
  void put(std::int32_t left, std::int32_t right, std::int32_t rank,
           std::int32_t id);  // a later one replaces
  const Entry* find(std::int32_t left, std::int32_t right) const;

 private:
  static constexpr std::uint64_t kEmpty = ~0ULL;
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Entry> slots_;
  std::size_t count_ = 0;
};

}  // namespace rlcpp::tokenizer
