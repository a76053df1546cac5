// Rows of several parts in the order of Hugging Face datasets' interleave_datasets (datasets 4,
// arrow_dataset.py: in turn, [3, 4, 5] gives the lists below; with probabilities, parts are drawn and begin
// again).
#include "data/mixing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/dataset.h"
#include "support.h"

namespace rlcpp::data {
namespace {

using Rows = std::vector<std::int64_t>;

TEST(Mixing, InTurnUntilTheFirstOrTheLastPartEnds) {
  EXPECT_EQ(mix({3, 4, 5}, {"first_exhausted", {}, 0}), (Rows{0, 3, 7, 1, 4, 8, 2, 5, 9}));
  EXPECT_EQ(mix({3, 4, 5}, {"all_exhausted", {}, 0}), (Rows{0, 3, 7, 1, 4, 8, 2, 5, 9, 0, 6, 10, 1, 3, 11}));
  EXPECT_EQ(mix({3, 4, 5}, {"concatenate", {}, 0}), (Rows{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(mix({2}, {"all_exhausted", {}, 0}), (Rows{0, 1}));
}

// Every part is read in its own order, round and round; the last row is the first that ends a part (or the
// last part).
void expect_drawn(const Rows& lengths, const Mixing& mixing, const Rows& rows) {
  const bool all = mixing.strategy == "all_exhausted";
  std::vector<std::int64_t> taken(lengths.size(), 0);
  const auto ended = [&] {
    std::size_t count = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) count += taken[i] >= lengths[i] ? 1 : 0;
    return all ? count == lengths.size() : count > 0;
  };
  for (const std::int64_t row : rows) {
    ASSERT_FALSE(ended());
    std::size_t part = 0;
    std::int64_t offset = 0;
    while (row >= offset + lengths[part]) offset += lengths[part++];
    ASSERT_EQ(row - offset, taken[part] % lengths[part]);
    ++taken[part];
  }
  EXPECT_TRUE(ended());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const double n = static_cast<double>(rows.size()), p = mixing.probabilities[i];
    // Where the rows end depends on the draws, hence one part more than five standard deviations.
    EXPECT_NEAR(static_cast<double>(taken[i]), n * p, 6 * std::sqrt(n * p * (1 - p)) + 1) << "part " << i;
  }
}

TEST(Mixing, DrawnByProbability) {
  const std::uint64_t seed = test::fresh_seed();
  const Rows lengths = {700, 150, 4000};
  for (const char* strategy : {"first_exhausted", "all_exhausted"}) {
    const Mixing mixing{strategy, {0.3, 0.1, 0.6}, seed};
    SCOPED_TRACE(strategy + std::string(", seed ") + std::to_string(seed));
    const Rows rows = mix(lengths, mixing);
    expect_drawn(lengths, mixing, rows);
    EXPECT_EQ(mix(lengths, mixing), rows);
    EXPECT_NE(mix(lengths, {strategy, {0.3, 0.1, 0.6}, seed + 1}), rows);
  }
  EXPECT_LT(mix(lengths, {"first_exhausted", {0.3, 0.1, 0.6}, seed}).size(),
            mix(lengths, {"all_exhausted", {0.3, 0.1, 0.6}, seed}).size());
}

TEST(Mixing, WhatCannotBeMixedIsRefused) {
  const auto refusal = [](const Mixing& mixing) {
    try {
      mix({2, 3}, mixing);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return error.render();
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal({"all_exhausted", {1.0}, 0}).find("1 numbers for 2 parts"), std::string::npos);
  EXPECT_NE(refusal({"all_exhausted", {0.5, 0.6}, 0}).find("sums to 1.1"), std::string::npos);
  EXPECT_NE(refusal({"all_exhausted", {0.0, 1.0}, 0}).find("above 0"), std::string::npos);
  EXPECT_NE(refusal({"all_exhausted", {std::nan(""), 1.0}, 0}).find("above 0"), std::string::npos);
  EXPECT_NE(refusal({"concatenate", {0.5, 0.5}, 0}).find("mixes nothing"), std::string::npos);
  EXPECT_THROW(mix({1, std::int64_t{1} << 40}, {"all_exhausted", {}, 0}), Error);
}

TEST(Mixing, ADatasetSaysWhereEachRowIsFrom) {
  const test::TemporaryDirectory dir;
  const auto write = [&](const std::string& name, int rows) {
    std::filesystem::create_directories(dir / name);
    std::ofstream out(dir / (name + "/train.jsonl"));
    for (int i = 0; i < rows; ++i)
      out << R"({"prompt": ")" << name << i << R"(", "completion": "c"})"
          << "\n";
  };
  write("a", 3);
  write("b", 1);
  const auto open = [&](const Mixing& mixing) {
    return Dataset::open(dir.path(), {"train"}, "data.name", {"a", "b"}, mixing);
  };
  const Dataset turns = open({"all_exhausted", {}, 0});
  ASSERT_EQ(turns.size(), 6);
  const std::vector<std::string> want = {"a0", "b0", "a1", "b0", "a2", "b0"};
  for (std::int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(turns.row(i).messages[0]["content"], want[static_cast<std::size_t>(i)]);
    EXPECT_EQ(turns.place(i),
              i % 2 == 1 ? dir / "b/train.jsonl:1" : dir / ("a/train.jsonl:" + std::to_string(i / 2 + 1)));
  }
  EXPECT_EQ(open({"concatenate", {}, 0}).size(), 4);
  EXPECT_EQ(open({"first_exhausted", {}, 0}).size(), 2);
  // A cursor of one mixture is not one of another.
  EXPECT_NE(open({"concatenate", {}, 0}).fingerprint(), turns.fingerprint());
  EXPECT_NE(open({"all_exhausted", {0.5, 0.5}, 1}).fingerprint(),
            open({"all_exhausted", {0.5, 0.5}, 2}).fingerprint());
  EXPECT_THROW(open({"all_exhausted", {0.5, 0.25, 0.25}, 0}), Error);
}

}  // namespace
}  // namespace rlcpp::data
