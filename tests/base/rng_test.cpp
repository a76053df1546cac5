#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "support.h"

namespace rlcpp {
namespace {

// Known answers of Random123's kat_vectors for philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32(0, 0, 0), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32(~0ULL, ~0ULL, ~0ULL), (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32(0x85a308d3243f6a88ULL, 0x0370734413198a2eULL, 0x299f31d0a4093822ULL),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The sequence of Vigna's splitmix64.c for the state 1234567.
TEST(Mix64, IsSplitMix64) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  EXPECT_EQ(mix64(1234567), 6457827717110365317ULL);
  EXPECT_EQ(mix64(1234567 + kGolden), 3203168211198807973ULL);
  EXPECT_EQ(mix64(1234567 + 2 * kGolden), 9817491932198370423ULL);
  std::set<std::uint64_t> keys;
  for (std::uint64_t a = 0; a < 64; ++a) {
    for (std::uint64_t b = 0; b < 64; ++b) keys.insert(mix64(a, b));
  }
  EXPECT_EQ(keys.size(), 64U * 64U);
}

TEST(Rng, WordsAreThoseOfTheBlocks) {
  Rng rng(7, 9);
  for (std::uint64_t block = 0; block < 5; ++block) {
    for (const std::uint32_t word : philox4x32(block, 9, 7)) EXPECT_EQ(rng.next_u32(), word);
  }
  EXPECT_EQ(rng.position(), 20U);
  Rng pairs(7, 9);
  const PhiloxBlock first = philox4x32(0, 9, 7);
  EXPECT_EQ(pairs.next_u64(), first[0] | (std::uint64_t{first[1]} << 32));
}

TEST(Rng, ContinuesFromASavedPosition) {
  const std::uint64_t seed = test::fresh_seed();
  Rng all(seed, 3);
  for (int i = 0; i < 101; ++i) (void)all.next_u32();
  Rng restored(seed, 3);
  restored.set_position(all.position());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(all.uniform_double(), restored.uniform_double());
}

TEST(Rng, SeedsAndStreamsAreUnrelated) {
  const std::uint64_t seed = test::fresh_seed();
  Rng a(seed, 0), b(seed, 1), c(seed + 1, 0);
  int equal = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t x = a.next_u32(), y = b.next_u32(), z = c.next_u32();
    equal += (x == y) + (x == z) + (y == z);
  }
  EXPECT_LE(equal, 1);  // two of 3000 pairs of 32-bit words agree once in 2e12 runs
}

// Bounds of six standard errors: one false alarm in 5e8 checks, whatever the seed.
TEST(Rng, UniformsFillTheUnitInterval) {
  Rng rng(test::fresh_seed());
  constexpr int kCount = 100000;
  double sum = 0, squares = 0, sum_double = 0;
  for (int i = 0; i < kCount; ++i) {
    const float value = rng.uniform();
    ASSERT_GE(value, 0.0F);
    ASSERT_LT(value, 1.0F);
    sum += value;
    squares += static_cast<double>(value) * value;
    const double precise = rng.uniform_double();
    ASSERT_GE(precise, 0.0);
    ASSERT_LT(precise, 1.0);
    sum_double += precise;
  }
  const double error = 6 / std::sqrt(12.0 * kCount);
  EXPECT_NEAR(sum / kCount, 0.5, error);
  EXPECT_NEAR(sum_double / kCount, 0.5, error);
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 6 * std::sqrt(4.0 / 45 / kCount));
}

TEST(Rng, NormalsHaveTheMomentsOfANormal) {
  Rng rng(test::fresh_seed());
  constexpr int kCount = 100000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.normal();
    ASSERT_TRUE(std::isfinite(x));
    m1 += x / kCount;
    m2 += x * x / kCount;
    m3 += x * x * x / kCount;
    m4 += x * x * x * x / kCount;
  }
  const double unit = 6 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(m1, 0, unit);
  EXPECT_NEAR(m2, 1, unit * std::sqrt(2.0));
  EXPECT_NEAR(m3, 0, unit * std::sqrt(15.0));
  EXPECT_NEAR(m4, 3, unit * std::sqrt(96.0));
}

TEST(Rng, BelowIsInRangeAndEven) {
  Rng rng(test::fresh_seed());
  constexpr std::uint64_t kBound = 7;
  constexpr int kCount = 70000;
  std::vector<int> counts(kBound, 0);
  for (int i = 0; i < kCount; ++i) ++counts[rng.below(kBound)];
  const double expected = static_cast<double>(kCount) / kBound;
  for (const int count : counts) EXPECT_NEAR(count, expected, 6 * std::sqrt(expected));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(rng.below(1), 0U);
  for (const std::uint64_t bound :
       {std::uint64_t{1} << 63, (std::uint64_t{1} << 63) + 1, ~std::uint64_t{0}}) {
    for (int i = 0; i < 100; ++i) EXPECT_LT(rng.below(bound), bound);
  }
}

TEST(Shuffle, IsAPermutationThatDependsOnSeedAlone) {
  const std::uint64_t seed = test::fresh_seed();
  std::vector<int> values(100), again(100), other(100);
  std::iota(values.begin(), values.end(), 0);
  again = other = values;
  const std::vector<int> sorted = values;
  Rng a(seed), b(seed), c(seed + 1);
  shuffle(values, a);
  shuffle(again, b);
  shuffle(other, c);
  EXPECT_EQ(values, again);
  EXPECT_NE(values, other);
  EXPECT_NE(values, sorted);
  std::sort(values.begin(), values.end());
  EXPECT_EQ(values, sorted);
}

TEST(Shuffle, EveryOrderIsEquallyLikely) {
  Rng rng(test::fresh_seed());
  std::vector<int> counts(27, 0);
  constexpr int kRounds = 12000;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<int> values = {0, 1, 2};
    shuffle(values, rng);
    ++counts[static_cast<std::size_t>(9 * values[0] + 3 * values[1] + values[2])];
  }
  int orders = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++orders;
    EXPECT_NEAR(count, kRounds / 6.0, 6 * std::sqrt(kRounds / 6.0));
  }
  EXPECT_EQ(orders, 6);
}

}  // namespace
}  // namespace rlcpp
