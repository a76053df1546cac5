// The order in which the rows of several parts (subsets, splits) make one data set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::data {

struct Mixing {
  // all_exhausted | first_exhausted: interleaved, as Hugging Face datasets' interleave_datasets does;
  // concatenate: one part after the other.
  std::string strategy = "concatenate";
  std::vector<double> probabilities;  // one a part, summing to 1; empty: in turn
  std::uint64_t seed = 0;             // of the draws
};

// Rows of the concatenation, in order. In turn: row i of every part, up to the shortest part
// (first_exhausted) or the longest, where shorter ones begin again (all_exhausted). With probabilities: the
// part of each row is drawn, parts that end begin again, and the last row is the one with which the first
// part (or the last that was left) comes to its end. Throws bad_input for probabilities that cannot be used,
// and where the mixture would have more than 2^28 rows.
std::vector<std::int64_t> mix(const std::vector<std::int64_t>& lengths, const Mixing& mixing);

// Throws bad_input naming data.probabilities, for `parts` parts.
void validate_mixing(const Mixing& mixing, std::size_t parts);

}  // namespace rlcpp::data
