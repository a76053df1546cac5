#include <algorithm>
#include <iterator>

#include "tokenizer/unicode_tables.h"

namespace rlcpp::tokenizer {

bool contains(std::span<const CodePointRange> sorted, char32_t c) {
  const auto after =
      std::upper_bound(sorted.begin(), sorted.end(), c,
                       [](char32_t x, const CodePointRange& range) { return x < range.first; });
  return after != sorted.begin() && c <= std::prev(after)->last;
}

}  // namespace rlcpp::tokenizer
