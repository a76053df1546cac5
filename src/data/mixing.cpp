#include "data/mixing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::data {
namespace {

constexpr std::uint64_t kMixStream = 0x6d6978ULL;  // "mix"
constexpr std::int64_t kMostRows = std::int64_t{1} << 28;

Error too_many() {
  return bad_input("the mixture of data.subsets and data.splits has more than 2^28 rows",
                   "all_exhausted repeats the others until the last row of every part was taken",
                   "use data.stopping_strategy = \"first_exhausted\", or other data.probabilities");
}

std::vector<std::int64_t> in_turn(const std::vector<std::int64_t>& lengths,
                                  const std::vector<std::int64_t>& offsets, bool all) {
  const std::int64_t rounds = all ? *std::max_element(lengths.begin(), lengths.end())
                                  : *std::min_element(lengths.begin(), lengths.end());
  if (rounds > kMostRows / static_cast<std::int64_t>(lengths.size())) throw too_many();
  std::vector<std::int64_t> rows;
  rows.reserve(static_cast<std::size_t>(rounds) * lengths.size());
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (std::size_t part = 0; part < lengths.size(); ++part)
      rows.push_back(offsets[part] + i % lengths[part]);
  }
  return rows;
}

std::vector<std::int64_t> drawn(const std::vector<std::int64_t>& lengths,
                                const std::vector<std::int64_t>& offsets, const Mixing& mixing, bool all) {
  std::vector<double> cumulative(lengths.size());
  std::partial_sum(mixing.probabilities.begin(), mixing.probabilities.end(), cumulative.begin());
  Rng rng(mixing.seed, kMixStream);
  std::vector<std::int64_t> next(lengths.size(), 0), rows;
  std::vector<bool> exhausted(lengths.size(), false);
  const auto left = [&] {
    return all ? std::find(exhausted.begin(), exhausted.end(), false) != exhausted.end()
               : std::find(exhausted.begin(), exhausted.end(), true) == exhausted.end();
  };
  while (left()) {
    const double u = rng.uniform_double() * cumulative.back();
    // A product that rounds up to the sum itself belongs to the last part.
    const auto found =
        std::min(std::upper_bound(cumulative.begin(), cumulative.end(), u), cumulative.end() - 1);
    const auto part = static_cast<std::size_t>(found - cumulative.begin());
    rows.push_back(offsets[part] + next[part]);
    if (static_cast<std::int64_t>(rows.size()) > kMostRows) throw too_many();
    if (++next[part] == lengths[part]) {
      exhausted[part] = true;
      next[part] = 0;
    }
  }
  return rows;
}

}  // namespace

void validate_mixing(const Mixing& mixing, std::size_t parts) {
  if (mixing.probabilities.empty()) return;
  if (mixing.strategy == "concatenate") {
    throw bad_input("data.probabilities mixes nothing with data.stopping_strategy = \"concatenate\"", {},
                    "use \"first_exhausted\" or \"all_exhausted\", or leave the probabilities out");
  }
  if (mixing.probabilities.size() != parts) {
    throw bad_input(
        fmt::format("data.probabilities has {} numbers for {} parts", mixing.probabilities.size(), parts),
        "the parts are the pairs of data.subsets and data.splits", "name one probability for each");
  }
  double sum = 0;
  for (const double p : mixing.probabilities) {
    // One of 0 would never end with all_exhausted, and says nothing with the other.
    if (!(p > 0))
      throw bad_input(fmt::format("data.probabilities has {}", p), {}, "every part needs a chance above 0");
    sum += p;
  }
  if (!(std::abs(sum - 1) < 1e-6))
    throw bad_input(fmt::format("data.probabilities sums to {}", sum), {}, "the sum must be 1");
}

std::vector<std::int64_t> mix(const std::vector<std::int64_t>& lengths, const Mixing& mixing) {
  validate_mixing(mixing, lengths.size());
  std::vector<std::int64_t> offsets(lengths.size(), 0);
  std::partial_sum(lengths.begin(), lengths.end() - 1, offsets.begin() + 1);
  for (const std::int64_t length : lengths) RLCPP_CHECK(length > 0);
  const bool all = mixing.strategy == "all_exhausted";
  RLCPP_CHECK(all || mixing.strategy == "first_exhausted" || mixing.strategy == "concatenate");
  if (mixing.strategy == "concatenate") {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(offsets.back() + lengths.back()));
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }
  return mixing.probabilities.empty() ? in_turn(lengths, offsets, all) : drawn(lengths, offsets, mixing, all);
}

}  // namespace rlcpp::data
