#include "rollout/prefix_index.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::rollout {

PrefixIndex::PrefixIndex(std::int32_t num_pages, std::int32_t page_size)
    : page_size_(page_size),
      sentinel_(num_pages),
      entries_(static_cast<std::size_t>(num_pages) + 1),
      tokens_(static_cast<std::size_t>(num_pages) * static_cast<std::size_t>(page_size)),
      buckets_(std::bit_ceil(static_cast<std::size_t>(num_pages) * 2 + 1), kNone) {
  at(sentinel_).earlier = kNone;
  at(sentinel_).later = kNone;
}

std::uint64_t PrefixIndex::hash(std::uint64_t generation, std::uint64_t parent,
                                std::span<const std::int32_t> tokens) {
  std::uint64_t value = mix64(generation, parent);
  for (const std::int32_t token : tokens) value = mix64(value ^ static_cast<std::uint32_t>(token));
  return value;
}

std::span<const std::int32_t> PrefixIndex::tokens_of(std::int32_t page) const {
  const auto size = static_cast<std::size_t>(page_size_);
  return {tokens_.data() + static_cast<std::size_t>(page) * size, size};
}

std::int32_t PrefixIndex::find(std::uint64_t generation, std::uint64_t parent,
                               std::span<const std::int32_t> tokens) const {
  RLCPP_CHECK(tokens.size() == static_cast<std::size_t>(page_size_));
  const std::uint64_t wanted = hash(generation, parent, tokens);
  std::int32_t page = buckets_[wanted & (buckets_.size() - 1)];
  while (page != kNone) {
    const Entry& entry = entries_[static_cast<std::size_t>(page)];
    if (entry.hash == wanted && entry.generation == generation && entry.parent == parent &&
        std::ranges::equal(tokens_of(page), tokens)) {
      return page;
    }
    page = entry.next;
  }
  return kNone;
}

void PrefixIndex::insert(std::int32_t page, std::uint64_t generation, std::uint64_t parent,
                         std::span<const std::int32_t> tokens) {
  RLCPP_CHECK(page >= 0 && page < sentinel_ && !contains(page));
  RLCPP_CHECK(tokens.size() == static_cast<std::size_t>(page_size_));
  if (Salts::is_root(parent)) salts_.hold(parent);
  Entry& entry = at(page);
  entry.serial = next_serial_++;
  entry.generation = generation;
  entry.parent = parent;
  entry.hash = hash(generation, parent, tokens);
  entry.parked = false;
  std::int32_t& bucket = buckets_[entry.hash & (buckets_.size() - 1)];
  entry.next = bucket;
  bucket = page;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<std::ptrdiff_t>(page) * page_size_);
  ++size_;
}

void PrefixIndex::erase(std::int32_t page) {
  RLCPP_CHECK(contains(page));
  if (at(page).parked) unpark(page);
  std::int32_t* link = &buckets_[at(page).hash & (buckets_.size() - 1)];
  while (*link != page) link = &at(*link).next;
  *link = at(page).next;
  at(page).serial = 0;
  --size_;
  if (Salts::is_root(at(page).parent)) salts_.release(at(page).parent);
}

// The ring: sentinel.later is the oldest, sentinel.earlier the newest; kNone stands for the sentinel at both
// ends.
void PrefixIndex::park(std::int32_t page) {
  Entry& entry = at(page);
  RLCPP_CHECK(contains(page) && !entry.parked);
  Entry& sentinel = at(sentinel_);
  entry.earlier = sentinel.earlier;
  entry.later = kNone;
  (entry.earlier == kNone ? sentinel : at(entry.earlier)).later = page;
  sentinel.earlier = page;
  entry.parked = true;
  ++parked_;
}

void PrefixIndex::unpark(std::int32_t page) {
  Entry& entry = at(page);
  RLCPP_CHECK(entry.parked);
  (entry.earlier == kNone ? at(sentinel_) : at(entry.earlier)).later = entry.later;
  (entry.later == kNone ? at(sentinel_) : at(entry.later)).earlier = entry.earlier;
  entry.parked = false;
  --parked_;
}

void PrefixIndex::check_invariants() const {
  std::unordered_set<std::uint64_t> serials;
  for (const Entry& entry : entries_) serials.insert(entry.serial);
  std::int32_t entered = 0;
  for (std::int32_t page = 0; page < sentinel_; ++page) {
    if (!contains(page)) continue;
    const Entry& entry = entries_[static_cast<std::size_t>(page)];
    ++entered;
    const bool first = Salts::is_root(entry.parent);
    RLCPP_CHECK(first ? salts_.contains(entry.parent) : serials.contains(entry.parent));
    RLCPP_CHECK(find(entry.generation, entry.parent, tokens_of(page)) == page);
  }
  RLCPP_CHECK(entered == size_);
  std::int32_t in_ring = 0;
  for (std::int32_t page = oldest_parked(); page != kNone;
       page = entries_[static_cast<std::size_t>(page)].later) {
    RLCPP_CHECK(contains(page) && entries_[static_cast<std::size_t>(page)].parked);
    ++in_ring;
  }
  RLCPP_CHECK(in_ring == parked_);
}

void PrefixIndex::check_salts(std::map<std::uint64_t, std::int64_t> holders) const {
  for (std::int32_t page = 0; page < sentinel_; ++page) {
    const std::uint64_t parent = entries_[static_cast<std::size_t>(page)].parent;
    if (contains(page) && Salts::is_root(parent) && parent != kRoot) ++holders[parent];
  }
  RLCPP_CHECK(holders.size() == salts_.size());
  for (const auto& [root, count] : holders) RLCPP_CHECK(salts_.holders(root) == count);
}

}  // namespace rlcpp::rollout
