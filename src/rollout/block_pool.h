// The pages of the cache as numbers: who holds which, which are free, which are kept because their content
// may be wanted again. The memory itself belongs to the engine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rollout/prefix_index.h"

namespace rlcpp::rollout {

// A page is in one of three states: held (references > 0), cached (no reference, but found in the prefix
// index) or free. Nothing is allocated after construction. Not thread-safe.
class BlockPool {
 public:
  BlockPool(std::int32_t num_pages, std::int32_t page_size);

  std::int32_t num_pages() const { return static_cast<std::int32_t>(references_.size()); }
  std::int32_t page_size() const { return page_size_; }
  std::int32_t free_pages() const { return static_cast<std::int32_t>(free_.size()); }
  std::int32_t cached_pages() const { return index_.parked(); }
  std::int32_t held_pages() const { return num_pages() - available(); }
  // Pages that allocate() can give: free ones and cached ones.
  std::int32_t available() const { return free_pages() + cached_pages(); }
  std::int32_t references(std::int32_t page) const { return references_[static_cast<std::size_t>(page)]; }

  // A page with one reference and no defined content: a free one, else the cached one let go the longest time
  // ago, which is thereby forgotten. available() must be > 0.
  std::int32_t allocate();
  void retain(std::int32_t page);
  // The last release makes the page cached if it was published, else free. Release a text's last page first:
  // then a page is never evicted before the pages that follow it, which could no longer be found.
  void release(std::int32_t page);

  // The page that holds `tokens` after `parent` (see PrefixIndex), with one more reference;
  // PrefixIndex::kNone if none.
  std::int32_t find_and_retain(std::uint64_t generation, std::uint64_t parent,
                               std::span<const std::int32_t> tokens);

  // Makes the content of a full, held page known. If another page already holds the same, that page takes its
  // place: the caller's reference moves to it. Returns the page that the caller now holds.
  std::int32_t publish(std::int32_t page, std::uint64_t generation, std::uint64_t parent,
                       std::span<const std::int32_t> tokens);

  std::uint64_t serial(std::int32_t page) const { return index_.serial(page); }
  Salts& salts() { return index_.salts(); }
  const PrefixIndex& index() const { return index_; }

 private:
  std::int32_t page_size_;
  std::vector<std::int32_t> references_;
  std::vector<std::int32_t> free_;  // a stack: the page freed last is warm in the processor's cache
  PrefixIndex index_;
};

}  // namespace rlcpp::rollout
