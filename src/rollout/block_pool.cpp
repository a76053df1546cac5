#include "rollout/block_pool.h"

#include "base/error.h"

namespace rlcpp::rollout {

BlockPool::BlockPool(std::int32_t num_pages, std::int32_t page_size)
    : page_size_(page_size),
      references_(static_cast<std::size_t>(num_pages), 0),
      index_(num_pages, page_size) {
  RLCPP_CHECK(num_pages > 0 && page_size > 0);
  free_.reserve(references_.size());
  for (std::int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

std::int32_t BlockPool::allocate() {
  RLCPP_CHECK(available() > 0);
  std::int32_t page;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else {
    page = index_.oldest_parked();
    index_.erase(page);
  }
  references_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void BlockPool::retain(std::int32_t page) {
  std::int32_t& references = references_[static_cast<std::size_t>(page)];
  RLCPP_CHECK(references > 0);
  ++references;
}

void BlockPool::release(std::int32_t page) {
  std::int32_t& references = references_[static_cast<std::size_t>(page)];
  RLCPP_CHECK(references > 0);
  if (--references > 0) return;
  if (index_.contains(page)) {
    index_.park(page);
  } else {
    free_.push_back(page);
  }
}

std::int32_t BlockPool::find_and_retain(std::uint64_t generation, std::uint64_t parent,
                                        std::span<const std::int32_t> tokens) {
  const std::int32_t page = index_.find(generation, parent, tokens);
  if (page == PrefixIndex::kNone) return page;
  std::int32_t& references = references_[static_cast<std::size_t>(page)];
  if (references == 0) index_.unpark(page);
  ++references;
  return page;
}

std::int32_t BlockPool::publish(std::int32_t page, std::uint64_t generation, std::uint64_t parent,
                                std::span<const std::int32_t> tokens) {
  RLCPP_CHECK(references(page) > 0);
  const std::int32_t known = find_and_retain(generation, parent, tokens);
  if (known == PrefixIndex::kNone) {
    index_.insert(page, generation, parent, tokens);
    return page;
  }
  release(page);  // known == page too: the reference that find_and_retain added goes
  return known;
}

}  // namespace rlcpp::rollout
