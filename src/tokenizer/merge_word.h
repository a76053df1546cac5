// Merging the symbols of one word: again and again the pair of neighbours that has the smallest rank, the
// leftmost among equals, until no pair of neighbours is in the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tokenizer/merge_table.h"

namespace rlcpp::tokenizer {

constexpr std::size_t kMergeWindow = 1024;

// Appends what `symbols` become. A word longer than `window` (at least 1; tests take small ones) is merged in
// windows of about that many symbols, which stay in the processor's first cache; the result does not depend
// on it.
void merge_word(const MergeTable& merges, std::span<const std::int32_t> symbols,
                std::vector<std::int32_t>& out, std::size_t window = kMergeWindow);

}  // namespace rlcpp::tokenizer
