// Which pages of the cache hold which tokens: full pages by (generation of the weights, page before, tokens);
// before a first page stands the root of its text's salt.
// A page is found only from the page before it, so a match of page i is a match of the whole text up to its
// end. Hashes only choose the bucket: tokens are always compared, and the page before is known by a serial
// number that is never used twice, so two texts are never taken for one another.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "rollout/salts.h"

namespace rlcpp::rollout {

// All memory but that of salts is allocated by the constructor. Not thread-safe. Knows nothing of reference
// counts: the block pool says which pages nobody holds, and the index keeps those in the order in which they
// were let go.
class PrefixIndex {
 public:
  static constexpr std::int32_t kNone = -1;
  // What the first page of a text without a salt has before it.
  static constexpr std::uint64_t kRoot = Salts::kNone;

  PrefixIndex(std::int32_t num_pages, std::int32_t page_size);

  // The page that holds exactly `tokens` [page_size] after the page with serial `parent`, computed by the
  // weights of `generation`; kNone if there is none.
  std::int32_t find(std::uint64_t generation, std::uint64_t parent,
                    std::span<const std::int32_t> tokens) const;

  // Chooses the bucket; says nothing about equality.
  static std::uint64_t hash(std::uint64_t generation, std::uint64_t parent,
                            std::span<const std::int32_t> tokens);

  // Enters `page`, which must not be in the index; find() of the same key must have given kNone.
  void insert(std::int32_t page, std::uint64_t generation, std::uint64_t parent,
              std::span<const std::int32_t> tokens);
  void erase(std::int32_t page);

  bool contains(std::int32_t page) const { return entries_[static_cast<std::size_t>(page)].serial != 0; }
  // The serial of a page in the index: `parent` of the pages after it.
  std::uint64_t serial(std::int32_t page) const { return entries_[static_cast<std::size_t>(page)].serial; }
  std::int32_t size() const { return size_; }

  // A first page in the index holds the root of its salt.
  Salts& salts() { return salts_; }
  const Salts& salts() const { return salts_; }

  // Pages in the index that nobody holds. park() makes one the last to be evicted, unpark() takes it out
  // again.
  void park(std::int32_t page);
  void unpark(std::int32_t page);
  std::int32_t parked() const { return parked_; }
  // The page parked for the longest time, or kNone.
  std::int32_t oldest_parked() const { return entries_[static_cast<std::size_t>(sentinel_)].later; }

  // Throws internal_error unless every page can be found from its parent, and lists and counts agree. For
  // tests.
  void check_invariants() const;
  // The same unless every salt that is remembered has as many holders as there are first pages with its root,
  // and others as given.
  void check_salts(std::map<std::uint64_t, std::int64_t> others) const;

 private:
  struct Entry {
    std::uint64_t serial = 0;  // 0: not in the index
    std::uint64_t generation = 0;
    std::uint64_t parent = kRoot;
    std::uint64_t hash = 0;
    std::int32_t next = kNone;     // in the bucket
    std::int32_t earlier = kNone;  // in the ring of parked pages, whose ends meet at the sentinel
    std::int32_t later = kNone;
    bool parked = false;
  };

  std::uint64_t hash_of(std::uint64_t generation, std::uint64_t parent,
                        std::span<const std::int32_t> tokens) const;
  std::span<const std::int32_t> tokens_of(std::int32_t page) const;
  Entry& at(std::int32_t page) { return entries_[static_cast<std::size_t>(page)]; }

  std::int32_t page_size_;
  std::int32_t sentinel_;
  std::int32_t size_ = 0;
  std::int32_t parked_ = 0;
  std::uint64_t next_serial_ = 1;
  Salts salts_;
  std::vector<Entry> entries_;         // [num_pages + 1]
  std::vector<std::int32_t> tokens_;   // [num_pages, page_size]
  std::vector<std::int32_t> buckets_;  // a power of two
};

}  // namespace rlcpp::rollout
