#include "tokenizer/merge_table.h"

#include "base/error.h"

namespace rlcpp::tokenizer {
namespace {

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

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

void MergeTable::put(std::int32_t left, std::int32_t right, std::int32_t rank, std::int32_t id) {
  Entry& entry = slots_[slot_of(pair_of(left, right))];
  count_ += entry.pair == kEmpty;
  RLCPP_CHECK(2 * count_ <= slots_.size() + 2);
  entry = {pair_of(left, right), rank, id};
}

const MergeTable::Entry* MergeTable::find(std::int32_t left, std::int32_t right) const {
  const Entry& entry = slots_[slot_of(pair_of(left, right))];
  return entry.pair == kEmpty ? nullptr : &entry;
}

}  // namespace rlcpp::tokenizer
