#include "tokenizer/merge_word.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "base/error.h"

namespace rlcpp::tokenizer {
namespace {

constexpr std::int32_t kNoMerge = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kLongestScannedWord = 64;  // longer ones take the tree: a scan is quadratic

// Most words are short: the rank of every pair is kept, the smallest looked for from the left.
void merge_short(const MergeTable& merges, std::span<const std::int32_t> symbols,
                 std::vector<std::int32_t>& out) {
  std::array<std::int32_t, kLongestScannedWord> tokens;
  std::array<std::int32_t, kLongestScannedWord> ranks;  // of the pair that begins here
  std::array<std::int32_t, kLongestScannedWord> merged;
  std::size_t count = symbols.size();
  std::copy(symbols.begin(), symbols.end(), tokens.begin());
  const auto look_up = [&](std::size_t i) {
    const auto* entry = i + 1 < count ? merges.find(tokens[i], tokens[i + 1]) : nullptr;
    ranks[i] = entry == nullptr ? kNoMerge : entry->rank;
    merged[i] = entry == nullptr ? -1 : entry->id;
  };
  for (std::size_t i = 0; i < count; ++i) look_up(i);
  for (;;) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < count; ++i) best = ranks[i] < ranks[best] ? i : best;
    if (ranks[best] == kNoMerge) break;
    tokens[best] = merged[best];
    --count;
    for (std::size_t i = best + 1; i < count; ++i) {
      tokens[i] = tokens[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  out.insert(out.end(), tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
}

// A stretch of symbols as a list, and over the ranks of its pairs a tree whose nodes hold the smallest of
// eight below them: the best pair is found and a changed rank made known in a step or two a level, and no
// candidate outlives its pair as in a heap. Memory is kept from one stretch to the next.
class Stretch {
 public:
  explicit Stretch(const MergeTable& merges) : merges_(merges) {}
  void merge(std::span<const std::int32_t> symbols);
  // Tokens lie where their first symbol was; the first is at 0, and the last ends at the number of symbols.
  std::int32_t token(std::size_t at) const { return nodes_[at].token; }
  std::size_t end(std::size_t at) const { return nodes_[at].next; }

 private:
  static constexpr std::size_t kFan = 8;
  struct Node {
    std::int32_t token;
    std::int32_t merged;  // what this token and the next would become, if they have a rank
    std::uint32_t previous;
    std::uint32_t next;
  };

  static std::int32_t smallest(const std::int32_t* ranks) {
    std::int32_t least = ranks[0];
    for (std::size_t i = 1; i < kFan; ++i) least = std::min(least, ranks[i]);
    return least;
  }
  // Without a branch that depends on the ranks: the processor could not foresee it.
  static std::size_t place_of(std::int32_t rank, const std::int32_t* ranks) {
    std::uint32_t places = 0;
    for (std::size_t i = 0; i < kFan; ++i) places |= static_cast<std::uint32_t>(ranks[i] == rank) << i;
    return static_cast<std::size_t>(std::countr_zero(places));
  }
  void look_up(std::size_t at);
  void make_known(std::size_t at);

  const MergeTable& merges_;
  std::vector<Node> nodes_;
  std::vector<std::vector<std::int32_t>>
      levels_;  // ranks of pairs, then smallest ranks of eight; eight in the last
};

void Stretch::look_up(std::size_t at) {
  Node& node = nodes_[at];
  const auto* entry = node.next < nodes_.size() ? merges_.find(node.token, nodes_[node.next].token) : nullptr;
  levels_[0][at] = entry == nullptr ? kNoMerge : entry->rank;
  if (entry != nullptr) node.merged = entry->id;
}

void Stretch::make_known(std::size_t at) {
  for (std::size_t level = 0; level + 1 < levels_.size(); ++level) {
    at /= kFan;
    const std::int32_t least = smallest(&levels_[level][at * kFan]);
    if (levels_[level + 1][at] == least) return;
    levels_[level + 1][at] = least;
  }
}

void Stretch::merge(std::span<const std::int32_t> symbols) {
  RLCPP_CHECK(symbols.size() < std::numeric_limits<std::uint32_t>::max());
  const auto count = static_cast<std::uint32_t>(symbols.size());
  nodes_.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) nodes_[i] = {symbols[i], -1, i - 1, i + 1};
  std::size_t height = 0;
  for (std::size_t width = count; height == 0 || width > 1; ++height) {
    width = (width + kFan - 1) / kFan;
    if (levels_.size() == height) levels_.emplace_back();
    levels_[height].assign(width * kFan, kNoMerge);
  }
  levels_.resize(height);
  for (std::size_t i = 0; i < count; ++i) look_up(i);
  for (std::size_t level = 0; level + 1 < height; ++level) {
    for (std::size_t at = 0; at < levels_[level].size(); at += kFan)
      levels_[level + 1][at / kFan] = smallest(&levels_[level][at]);
  }

  for (;;) {
    const std::int32_t rank = smallest(levels_.back().data());
    if (rank == kNoMerge) return;
    std::size_t left = 0;
    for (std::size_t level = height; level-- > 0;)
      left = left * kFan + place_of(rank, &levels_[level][left * kFan]);
    Node& node = nodes_[left];
    const std::uint32_t right = node.next;
    node.token = node.merged;
    node.next = nodes_[right].next;
    if (node.next < count) nodes_[node.next].previous = static_cast<std::uint32_t>(left);
    levels_[0][right] = kNoMerge;
    look_up(left);
    make_known(left);
    if (right / kFan != left / kFan) make_known(right);
    if (left > 0) {
      look_up(node.previous);
      make_known(node.previous);
    }
  }
}

// Three facts make windows exact. (1) Where the tokens of a word part, each side alone has the same tokens,
// since no merge ever looked across. (2) The tokens of two neighbouring stretches, one after the other, are
// those of both together if no merge takes place across the border. (3) That is so if and only if none does
// between the last token of the left and the first of the right alone: by (1) what happens inside these two
// does not depend on what is outside, and the merge that would be the first across would be the best there
// too.
class Windows {
 public:
  Windows(const MergeTable& merges, std::span<const std::int32_t> symbols, std::vector<std::int32_t>& out,
          std::size_t window)
      : symbols_(symbols), out_(out), window_(window), stretch_(merges), pair_(merges) {}
  void run();

 private:
  // `out` has the tokens of the symbols before `begin`; the last of them begins at `last`. `size`: of the
  // window that begins here.
  struct Mark {
    std::size_t begin = 0;
    std::size_t last = 0;
    std::size_t tokens = 0;
    std::size_t size = 0;
  };
  bool parts_at(std::size_t left, std::size_t border, std::size_t right);
  void keep(Mark& mark, std::size_t count, std::size_t limit);

  std::span<const std::int32_t> symbols_;
  std::vector<std::int32_t>& out_;
  std::size_t window_;
  Stretch stretch_;
  Stretch pair_;
};

// Whether the symbols from `left` to `right` part at `border`.
bool Windows::parts_at(std::size_t left, std::size_t border, std::size_t right) {
  pair_.merge(symbols_.subspan(left, right - left));
  std::size_t at = 0;
  while (at < border - left) at = pair_.end(at);
  return at == border - left;
}

// Takes the tokens of a window of `count` symbols that end before `limit`.
void Windows::keep(Mark& mark, std::size_t count, std::size_t limit) {
  std::size_t at = 0;
  while (at < count && stretch_.end(at) <= limit) {
    out_.push_back(stretch_.token(at));
    mark.last = mark.begin + at;
    at = stretch_.end(at);
  }
  mark.begin += at;
}

// The last eighth of a window is not kept, since what follows decides over it; so a border is almost never
// refused. Where one is, the window before it is done again with twice the size. A word made against this
// ends as one window.
void Windows::run() {
  const std::size_t first_token = out_.size();
  std::vector<Mark> kept;
  Mark mark{0, 0, first_token, window_};
  for (std::size_t work = 0;;) {
    const std::size_t count = std::min(mark.size, symbols_.size() - mark.begin);
    work += count;
    stretch_.merge(symbols_.subspan(mark.begin, count));
    if (!kept.empty() && !parts_at(mark.last, mark.begin, mark.begin + stretch_.end(0))) {
      mark = kept.back();
      kept.pop_back();
      mark.size *= 2;
      if (work > 4 * symbols_.size()) {
        mark = {0, 0, first_token, symbols_.size()};
        kept.clear();
      }
      out_.resize(mark.tokens);
      continue;
    }
    const bool ends = mark.begin + count == symbols_.size();
    Mark next = mark;
    keep(next, count, ends ? count : count - count / 8);
    if (ends) return;
    if (next.begin == mark.begin) {  // one token is longer
      mark.size *= 2;
      continue;
    }
    kept.push_back(mark);
    mark = {next.begin, next.last, out_.size(), window_};
  }
}

}  // namespace

void merge_word(const MergeTable& merges, std::span<const std::int32_t> symbols,
                std::vector<std::int32_t>& out, std::size_t window) {
  if (symbols.empty()) return;
  if (symbols.size() <= std::min(kLongestScannedWord, window)) {
    merge_short(merges, symbols, out);
  } else {
    Windows(merges, symbols, out, window).run();
  }
}

}  // namespace rlcpp::tokenizer
