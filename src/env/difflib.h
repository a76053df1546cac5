// Python's difflib.SequenceMatcher(None, a, b), as far as ratio() needs it: the reward of reverse-text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace rlcpp::env {

// a[a_start, a_start + size) == b[b_start, b_start + size).
struct MatchingBlock {
  std::int64_t a_start = 0;
  std::int64_t b_start = 0;
  std::int64_t size = 0;
  bool operator==(const MatchingBlock&) const = default;
};

// Longest blocks first, then left and right of each, as CPython's Lib/difflib.py does (isjunk None, autojunk
// True: with 200 or more code points in b, those occurring in more than 1 % of its places start no match). In
// order of a_start, adjacent blocks not merged, without Python's closing empty block. Worst case |a| |b|
// steps for each block found.
std::vector<MatchingBlock> matching_blocks(std::u32string_view a, std::u32string_view b);

// 2 M / (|a| + |b|), M the matched code points; 1 if both are empty. Equal to Python's value to the last bit.
double ratio(std::u32string_view a, std::u32string_view b);

// Hostile text is bounded in time: only the first kRatioLimit code points of each text are matched, while the
// denominator counts whole lengths. Equal to ratio() for texts up to the limit; beyond it a value in [0, 1)
// of its own.
inline constexpr std::size_t kRatioLimit = 8192;
double bounded_ratio(std::u32string_view a, std::u32string_view b);

}  // namespace rlcpp::env
