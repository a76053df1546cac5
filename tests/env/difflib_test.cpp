#include "env/difflib.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "data_path.h"
#include "env/unicode.h"
#include "support.h"

namespace rlcpp::env {
namespace {

nlohmann::json golden() {
  std::ifstream file(test::data_path("env/difflib.json"));
  EXPECT_TRUE(file.is_open());
  return nlohmann::json::parse(file);
}

// Python joins blocks that touch in both texts; the sum is the same.
std::vector<MatchingBlock> joined(const std::vector<MatchingBlock>& blocks) {
  std::vector<MatchingBlock> out;
  for (const MatchingBlock& block : blocks) {
    if (!out.empty() && out.back().a_start + out.back().size == block.a_start &&
        out.back().b_start + out.back().size == block.b_start) {
      out.back().size += block.size;
    } else {
      out.push_back(block);
    }
  }
  return out;
}

TEST(Difflib, RatioEqualsPythonToTheLastBit) {
  const nlohmann::json data = golden();
  ASSERT_GE(data["rows"].size(), 1000U);
  std::size_t with_autojunk = 0;
  for (const auto& row : data["rows"]) {
    const std::u32string a = to_code_points(row[0].get<std::string>());
    const std::u32string b = to_code_points(row[1].get<std::string>());
    with_autojunk += b.size() >= 200 ? 1 : 0;
    EXPECT_EQ(ratio(a, b), row[2].get<double>()) << row[0] << " / " << row[1];
    EXPECT_EQ(bounded_ratio(a, b), row[2].get<double>());
  }
  EXPECT_GE(with_autojunk, 100U);
}

TEST(Difflib, BlocksEqualPython) {
  std::size_t compared = 0;
  const nlohmann::json data = golden();
  for (const auto& row : data["rows"]) {
    if (row[3].is_null()) continue;
    std::vector<MatchingBlock> expected;
    for (const auto& block : row[3]) expected.push_back({block[0], block[1], block[2]});
    const auto blocks =
        matching_blocks(to_code_points(row[0].get<std::string>()), to_code_points(row[1].get<std::string>()));
    EXPECT_EQ(joined(blocks), expected) << row[0] << " / " << row[1];
    ++compared;
  }
  EXPECT_GE(compared, 150U);
}

TEST(Difflib, BlocksAreMatchesInOrder) {
  Rng rng(rlcpp::test::fresh_seed());
  for (int round = 0; round < 200; ++round) {
    std::u32string a, b;
    for (std::uint64_t i = rng.below(300); i > 0; --i)
      a.push_back(U'a' + static_cast<char32_t>(rng.below(5)));
    for (std::uint64_t i = rng.below(300); i > 0; --i)
      b.push_back(U'a' + static_cast<char32_t>(rng.below(5)));
    std::int64_t a_end = 0, b_end = 0;
    for (const MatchingBlock& block : matching_blocks(a, b)) {
      ASSERT_GE(block.a_start, a_end);
      ASSERT_GE(block.b_start, b_end);
      a_end = block.a_start + block.size;
      b_end = block.b_start + block.size;
      ASSERT_EQ(a.substr(static_cast<std::size_t>(block.a_start), static_cast<std::size_t>(block.size)),
                b.substr(static_cast<std::size_t>(block.b_start), static_cast<std::size_t>(block.size)));
    }
  }
}

TEST(Difflib, HostileTextIsBoundedInTime) {
  // Few letters, no run in common for long: many small blocks, the slow case.
  Rng rng(7);
  std::u32string a, b;
  for (int i = 0; i < 1'000'000; ++i) a.push_back(U'a' + static_cast<char32_t>(rng.below(90)));
  for (int i = 0; i < 20'000; ++i) b.push_back(U'a' + static_cast<char32_t>(rng.below(90)));
  const auto start = std::chrono::steady_clock::now();
  const double value = bounded_ratio(a, b);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_GE(value, 0.0);
  EXPECT_LT(value, 1.0);
  EXPECT_LT(seconds, 5.0);
  EXPECT_LT(bounded_ratio(std::u32string(3'000'000, U'a'), std::u32string(150, U'a')), 0.001);
}

}  // namespace
}  // namespace rlcpp::env
