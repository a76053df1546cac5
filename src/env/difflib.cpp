#include "env/difflib.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace rlcpp::env {
namespace {

using Index = std::int64_t;

// Where each code point occurs in b, ascending; without the popular ones if b is long (Python's autojunk).
class CharacterPlaces {
 public:
  explicit CharacterPlaces(std::u32string_view b) {
    for (std::size_t j = 0; j < b.size(); ++j) places_[b[j]].push_back(static_cast<Index>(j));
    if (b.size() < 200) return;
    const std::size_t most = b.size() / 100 + 1;
    std::erase_if(places_, [&](const auto& entry) { return entry.second.size() > most; });
  }
  const std::vector<Index>& of(char32_t c) const {
    const auto found = places_.find(c);
    return found == places_.end() ? none_ : found->second;
  }

 private:
  std::unordered_map<char32_t, std::vector<Index>> places_;
  std::vector<Index> none_;
};

struct Range {
  Index a_begin, a_end, b_begin, b_end;
};

class Matcher {
 public:
  Matcher(std::u32string_view a, std::u32string_view b)
      : a_(a), b_(b), places_(b), previous_(b.size() + 1, 0), current_(b.size() + 1, 0) {}

  // find_longest_match: of the longest blocks the one that starts first in a, and of those the first in b.
  MatchingBlock longest(const Range& range) {
    MatchingBlock best{range.a_begin, range.b_begin, 0};
    for (Index i = range.a_begin; i < range.a_end; ++i) {
      const std::vector<Index>& places = places_.of(at(a_, i));
      for (auto j = std::lower_bound(places.begin(), places.end(), range.b_begin);
           j != places.end() && *j < range.b_end; ++j) {
        // Lengths are stored one to the right, so that j = 0 reads an entry that is never written.
        const Index length = previous_[static_cast<std::size_t>(*j)] + 1;
        set(current_, current_set_, *j + 1, length);
        if (length > best.size) best = {i - length + 1, *j - length + 1, length};
      }
      clear(previous_, previous_set_);
      std::swap(previous_, current_);
      std::swap(previous_set_, current_set_);
    }
    clear(previous_, previous_set_);
    // Popular code points start no match, but a match grows over them.
    while (best.a_start > range.a_begin && best.b_start > range.b_begin &&
           at(a_, best.a_start - 1) == at(b_, best.b_start - 1)) {
      best = {best.a_start - 1, best.b_start - 1, best.size + 1};
    }
    while (best.a_start + best.size < range.a_end && best.b_start + best.size < range.b_end &&
           at(a_, best.a_start + best.size) == at(b_, best.b_start + best.size)) {
      ++best.size;
    }
    return best;
  }

 private:
  using Lengths = std::vector<Index>;
  static char32_t at(std::u32string_view text, Index i) { return text[static_cast<std::size_t>(i)]; }
  static void set(Lengths& lengths, std::vector<Index>& which, Index j, Index value) {
    lengths[static_cast<std::size_t>(j)] = value;
    which.push_back(j);
  }
  static void clear(Lengths& lengths, std::vector<Index>& which) {
    for (const Index j : which) lengths[static_cast<std::size_t>(j)] = 0;
    which.clear();
  }

  std::u32string_view a_, b_;
  CharacterPlaces places_;
  // Length of the match that ends at (i - 1, j - 1) and (i, j - 1); only touched entries are reset.
  Lengths previous_, current_;
  std::vector<Index> previous_set_, current_set_;
};

}  // namespace

std::vector<MatchingBlock> matching_blocks(std::u32string_view a, std::u32string_view b) {
  Matcher matcher(a, b);
  std::vector<Range> queue = {{0, static_cast<Index>(a.size()), 0, static_cast<Index>(b.size())}};
  std::vector<MatchingBlock> blocks;
  while (!queue.empty()) {
    const Range range = queue.back();
    queue.pop_back();
    const MatchingBlock found = matcher.longest(range);
    if (found.size == 0) continue;
    blocks.push_back(found);
    const Index a_after = found.a_start + found.size;
    const Index b_after = found.b_start + found.size;
    if (range.a_begin < found.a_start && range.b_begin < found.b_start) {
      queue.push_back({range.a_begin, found.a_start, range.b_begin, found.b_start});
    }
    if (a_after < range.a_end && b_after < range.b_end) {
      queue.push_back({a_after, range.a_end, b_after, range.b_end});
    }
  }
  std::sort(blocks.begin(), blocks.end(),
            [](const MatchingBlock& x, const MatchingBlock& y) { return x.a_start < y.a_start; });
  return blocks;
}

namespace {

double ratio_of(std::u32string_view a, std::u32string_view b, std::size_t length) {
  if (length == 0) return 1.0;
  std::int64_t matches = 0;
  for (const MatchingBlock& block : matching_blocks(a, b)) matches += block.size;
  return 2.0 * static_cast<double>(matches) / static_cast<double>(length);
}

}  // namespace

double ratio(std::u32string_view a, std::u32string_view b) {
  return ratio_of(a, b, a.size() + b.size());
}

double bounded_ratio(std::u32string_view a, std::u32string_view b) {
  return ratio_of(a.substr(0, kRatioLimit), b.substr(0, kRatioLimit), a.size() + b.size());
}

}  // namespace rlcpp::env
