#include "rollout/whole_documents.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "support.h"

namespace rlcpp::rollout {
namespace {

// By trying every pair of ends.
WholeRun longest_by_search(const std::vector<StepPlan::Chunk>& chunks) {
  WholeRun best;
  for (std::size_t begin = 0; begin < chunks.size(); ++begin) {
    std::int64_t rows = 0;
    for (std::size_t end = begin; end < chunks.size(); ++end) {
      if (chunks[end].start != 0 || chunks[end].count == 1) break;
      rows += chunks[end].count;
      if (rows > best.rows) best = {begin, end + 1, rows};
    }
  }
  return best;
}

TEST(WholeDocuments, TheLongestRunOfPromptsFromTheirFirstTokenOn) {
  Rng rng(test::fresh_seed());
  int found = 0, none = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<StepPlan::Chunk> chunks;
    std::int32_t row = 0;
    const std::uint64_t count = rng.below(12);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto start = rng.below(3) == 0 ? static_cast<std::int32_t>(1 + rng.below(50)) : 0;
      const auto tokens = rng.below(4) == 0 ? 1 : static_cast<std::int32_t>(2 + rng.below(80));
      chunks.push_back({0, start, tokens, row});
      row += tokens;
    }
    const WholeRun expected = longest_by_search(chunks), got = whole_run(chunks);
    if (expected.rows < 128) {
      EXPECT_EQ(got.rows, 0);
      ++none;
      continue;
    }
    ++found;
    EXPECT_EQ(got.rows, expected.rows) << "seed " << rng.seed();
    EXPECT_EQ(got.begin, expected.begin) << "seed " << rng.seed();
    EXPECT_EQ(got.end, expected.end) << "seed " << rng.seed();
  }
  EXPECT_GT(found, 20);
  EXPECT_GT(none, 20);
}

TEST(WholeDocuments, FewNumbersOfPlacesAndRoomForAll) {
  for (std::int64_t n = 1; n <= 2000; ++n) {
    const std::int64_t places = whole_places(n);
    EXPECT_GE(places, n);
    EXPECT_TRUE(places == 16 || places == 64 || places == 256 || places == 1024 || places == 4096) << places;
  }
}

}  // namespace
}  // namespace rlcpp::rollout
