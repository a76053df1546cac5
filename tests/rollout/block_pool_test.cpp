// The block pool against a naive model: lists, whole texts as keys, and no hashing.
#include "rollout/block_pool.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

using Text = std::vector<std::int32_t>;

// Every page's content is the whole text up to its end, beginning with its salt.
class NaivePool {
 public:
  NaivePool(std::int32_t num_pages) {
    for (std::int32_t page = 0; page < num_pages; ++page) free.push_back(page);
  }
  // What allocate() must give: nothing is prescribed among free pages, the oldest cached one otherwise.
  void allocated(std::int32_t page) {
    if (!free.empty()) {
      ASSERT_EQ(std::erase(free, page), 1U);
    } else {
      ASSERT_EQ(page, cached.front());
      cached.erase(cached.begin());
      content.erase(page);
    }
    references[page] = 1;
  }
  void released(std::int32_t page) {
    if (--references[page] > 0) return;
    (content.contains(page) ? cached : free).push_back(page);
  }
  std::int32_t find(std::uint64_t generation, const Text& text) const {
    for (const auto& [page, key] : content) {
      if (key == std::pair(generation, text)) return page;
    }
    return PrefixIndex::kNone;
  }
  void retained(std::int32_t page) {
    if (references[page]++ == 0) std::erase(cached, page);
  }

  std::vector<std::int32_t> free, cached;  // cached: the oldest first
  std::map<std::int32_t, std::int32_t> references;
  std::map<std::int32_t, std::pair<std::uint64_t, Text>> content;
};

// A text that holds the pages of its beginning, as a sequence of the engine does.
struct Chain {
  std::uint64_t generation;
  std::uint64_t root;
  Text text;  // -salt, then tokens
  std::vector<std::int32_t> pages;
};

class PoolDriver {
 public:
  PoolDriver(Rng& rng, std::int32_t num_pages, std::int32_t page_size)
      : rng_(rng), page_size_(page_size), pool_(num_pages, page_size), naive_(num_pages) {}

  // A chain begins with what is already known.
  void begin() {
    const std::uint64_t salt = rng_.below(3);
    Chain chain{1 + rng_.below(2),
                pool_.salts().hold(std::string(salt, 'x')),
                {-static_cast<std::int32_t>(salt)},
                {}};
    const std::size_t pages = rng_.below(5);
    while (chain.pages.size() < pages) {
      const Text next = random_page();
      chain.text.insert(chain.text.end(), next.begin(), next.end());
      const std::int32_t expected = naive_.find(chain.generation, chain.text);
      const std::int32_t found = pool_.find_and_retain(chain.generation, parent_of(chain), next);
      ASSERT_EQ(found, expected);
      if (found == PrefixIndex::kNone) break;
      naive_.retained(found);
      chain.pages.push_back(found);
    }
    chain.text.resize(1 + chain.pages.size() * static_cast<std::size_t>(page_size_));
    chains_.push_back(std::move(chain));
  }

  void extend() {
    if (chains_.empty() || pool_.available() == 0) return;
    Chain& chain = chains_[rng_.below(chains_.size())];
    const std::int32_t page = pool_.allocate();
    naive_.allocated(page);
    const Text next = random_page();
    const std::uint64_t parent = parent_of(chain);
    chain.text.insert(chain.text.end(), next.begin(), next.end());
    const std::int32_t known = naive_.find(chain.generation, chain.text);
    const std::int32_t held = pool_.publish(page, chain.generation, parent, next);
    if (known == PrefixIndex::kNone) {
      ASSERT_EQ(held, page);
      naive_.content[page] = {chain.generation, chain.text};
    } else {
      ASSERT_EQ(held, known);
      naive_.retained(known);
      naive_.released(page);
    }
    chain.pages.push_back(held);
  }

  void end() {
    if (chains_.empty()) return;
    const std::size_t i = rng_.below(chains_.size());
    for (auto page = chains_[i].pages.rbegin(); page != chains_[i].pages.rend(); ++page) {
      pool_.release(*page);
      naive_.released(*page);
    }
    pool_.salts().release(chains_[i].root);
    chains_.erase(chains_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  // A page that is never published, as a half-full one.
  void borrow() {
    if (pool_.available() == 0) return;
    const std::int32_t page = pool_.allocate();
    naive_.allocated(page);
    pool_.retain(page);
    ASSERT_EQ(pool_.references(page), 2);
    pool_.release(page);
    pool_.release(page);
    naive_.released(page);
  }

  void check() const {
    ASSERT_EQ(pool_.free_pages(), static_cast<std::int32_t>(naive_.free.size()));
    ASSERT_EQ(pool_.cached_pages(), static_cast<std::int32_t>(naive_.cached.size()));
    ASSERT_EQ(pool_.index().size(), static_cast<std::int32_t>(naive_.content.size()));
    ASSERT_EQ(pool_.free_pages() + pool_.cached_pages() + pool_.held_pages(), pool_.num_pages());
    for (const auto& [page, references] : naive_.references) ASSERT_EQ(pool_.references(page), references);
    pool_.index().check_invariants();
    std::map<std::uint64_t, std::int64_t> holders;
    for (const Chain& chain : chains_) holders[chain.root] += chain.root == Salts::kNone ? 0 : 1;
    holders.erase(Salts::kNone);
    pool_.index().check_salts(std::move(holders));
    const std::int32_t oldest = naive_.cached.empty() ? PrefixIndex::kNone : naive_.cached.front();
    ASSERT_EQ(pool_.index().oldest_parked(), oldest);
  }

  bool done() const { return chains_.empty(); }

 private:
  Text random_page() {
    Text tokens(static_cast<std::size_t>(page_size_));
    for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(rng_.below(2));
    return tokens;
  }
  std::uint64_t parent_of(const Chain& chain) const {
    return chain.pages.empty() ? chain.root : pool_.serial(chain.pages.back());
  }

  Rng& rng_;
  std::int32_t page_size_;
  BlockPool pool_;
  NaivePool naive_;
  std::vector<Chain> chains_;
};

TEST(BlockPool, AgreesWithANaiveModelOverThousandsOfOperations) {
  Rng rng(test::fresh_seed());
  for (int round = 0; round < 60; ++round) {
    const auto num_pages = static_cast<std::int32_t>(1 + rng.below(24));
    PoolDriver driver(rng, num_pages, static_cast<std::int32_t>(1 + rng.below(3)));
    for (int i = 0; i < 300; ++i) {
      switch (rng.below(6)) {
        case 0:
        case 1:
          driver.begin();
          break;
        case 2:
        case 3:
          driver.extend();
          break;
        case 4:
          driver.end();
          break;
        default:
          driver.borrow();
          break;
      }
      driver.check();
      if (HasFatalFailure()) FAIL() << "seed " << rng.seed() << ", round " << round << ", operation " << i;
    }
    while (!driver.done()) driver.end();
    driver.check();
  }
}

// Two pages of two tokens with the same 64-bit hash, found by meeting in the middle: the upper halves of the
// hash after the first token meet among 2^18 tokens, and the second token makes up for the difference of the
// lower halves.
TEST(PrefixIndex, TellsApartTextsWithEqualHashes) {
  const std::uint64_t seed = test::fresh_seed();
  constexpr std::uint64_t kGeneration = 3;
  const std::uint64_t start = mix64(kGeneration, PrefixIndex::kRoot);
  std::map<std::uint32_t, std::int32_t> by_upper_half;
  for (std::int32_t i = 0;; ++i) {
    const auto first = static_cast<std::int32_t>(mix64(seed, static_cast<std::uint64_t>(i)));
    const std::uint64_t middle = mix64(start ^ static_cast<std::uint32_t>(first));
    const auto [place, added] = by_upper_half.try_emplace(static_cast<std::uint32_t>(middle >> 32), first);
    if (added || place->second == first) continue;
    const std::uint64_t other_middle = mix64(start ^ static_cast<std::uint32_t>(place->second));
    const Text a{first, 5};
    const Text b{place->second,
                 static_cast<std::int32_t>(static_cast<std::uint32_t>(middle ^ other_middle) ^ 5U)};
    ASSERT_EQ(PrefixIndex::hash(kGeneration, PrefixIndex::kRoot, a),
              PrefixIndex::hash(kGeneration, PrefixIndex::kRoot, b));
    ASSERT_NE(a, b);

    PrefixIndex index(4, 2);
    index.insert(0, kGeneration, PrefixIndex::kRoot, a);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, a), 0);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, b), PrefixIndex::kNone);
    index.insert(2, kGeneration, PrefixIndex::kRoot, b);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, a), 0);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, b), 2);
    index.erase(0);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, a), PrefixIndex::kNone);
    EXPECT_EQ(index.find(kGeneration, PrefixIndex::kRoot, b), 2);
    return;
  }
}

TEST(PrefixIndex, KeyIsGenerationParentAndTokens) {
  PrefixIndex index(4, 2);
  const Text tokens{7, 8};
  index.insert(1, 1, PrefixIndex::kRoot, tokens);
  const std::uint64_t parent = index.serial(1);
  index.insert(2, 1, parent, tokens);
  EXPECT_EQ(index.find(1, PrefixIndex::kRoot, tokens), 1);
  EXPECT_EQ(index.find(1, parent, tokens), 2);
  EXPECT_EQ(index.find(2, PrefixIndex::kRoot, tokens), PrefixIndex::kNone);
  // A page that comes back under the same number is another parent: what followed the old one is not found.
  index.erase(1);
  index.insert(1, 1, PrefixIndex::kRoot, tokens);
  EXPECT_NE(index.serial(1), parent);
  EXPECT_EQ(index.find(1, index.serial(1), tokens), PrefixIndex::kNone);
}

TEST(BlockPool, MisuseIsAnError) {
  BlockPool pool(2, 4);
  const std::int32_t page = pool.allocate();
  pool.allocate();
  EXPECT_THROW(pool.allocate(), std::exception);
  pool.release(page);
  EXPECT_THROW(pool.release(page), std::exception);
  EXPECT_THROW(pool.retain(page), std::exception);
}

}  // namespace
}  // namespace rlcpp::rollout
