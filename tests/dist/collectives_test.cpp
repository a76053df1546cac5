// Every collective of solo and thread ranks against float64, and what its bits may depend on.
#include <array>
#include <atomic>
#include <cmath>

#include "dist/reduce.h"
#include "ranks.h"

namespace rlcpp::dist {
namespace {

std::vector<std::string> all_bits(int ranks, std::uint64_t seed, int rounds, bool jitter = false) {
  World world(threads_world(ranks));
  std::vector<std::string> bits(static_cast<std::size_t>(ranks));
  std::vector<std::string> wrong(static_cast<std::size_t>(ranks));
  const auto errors = run_ranks(world, [&](Communicator& c) {
    const auto me = static_cast<std::size_t>(c.rank());
    if (jitter) std::this_thread::sleep_for(std::chrono::milliseconds(7 * (ranks - c.rank())));
    bits[me] = check_collectives(c, seed, rounds, [&](const std::string& what) { wrong[me] += what + "\n"; });
  });
  for (std::size_t rank = 0; rank < errors.size(); ++rank) {
    EXPECT_EQ(errors[rank], "") << rank;
    EXPECT_EQ(wrong[rank], "") << rank;
  }
  return bits;
}

class ThreadRanks : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(, ThreadRanks, testing::Values(1, 2, 3, 5, 8));

TEST_P(ThreadRanks, EveryCollectiveAgreesWithFloat64) {
  all_bits(GetParam(), test::fresh_seed(), 40);
}

TEST_P(ThreadRanks, BitsDoNotDependOnWhoComesFirst) {
  const std::uint64_t seed = test::fresh_seed();
  const auto first = all_bits(GetParam(), seed, 12);
  EXPECT_EQ(all_bits(GetParam(), seed, 12, true), first);
}

// The order is that of the ranks, in the tensor's own type: a chain written out by hand gives the same bits.
TEST(Reduce, AddsInRankOrder) {
  std::mt19937_64 random(test::fresh_seed());
  std::vector<Values> in;
  for (int rank = 0; rank < 5; ++rank) {
    in.emplace_back(DType::kF32, 3000);
    in.back().randomise(random());
  }
  World world(threads_world(5));
  const auto errors = run_ranks(world, [&](Communicator& c) {
    Values mine = in[static_cast<std::size_t>(c.rank())];
    c.all_reduce(mine.tensor(), Reduction::kSum, "sum");
    for (std::int64_t i = 0; i < 3000; ++i) {
      auto chain = static_cast<float>(in[0].get(i));
      for (std::size_t rank = 1; rank < 5; ++rank) chain += static_cast<float>(in[rank].get(i));
      ASSERT_EQ(mine.get(i), static_cast<double>(chain)) << i;
    }
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Reduce, Bf16IsRoundedOnce) {
  // 1 + 2^-9 + 2^-9: each term alone is rounded away beside 1 in bf16, their sum is not.
  std::vector<std::vector<std::uint16_t>> in = {
      {f32_to_bf16(1.0F)}, {f32_to_bf16(0x1p-8F)}, {f32_to_bf16(0x1p-8F)}};
  std::uint16_t out = 0;
  void* const outs = &out;
  const std::vector<const void*> ins = {in[0].data(), in[1].data(), in[2].data()};
  reduce_in_order(DType::kBF16, Reduction::kSum, {&outs, 1}, ins, 0, 1);
  EXPECT_EQ(bf16_to_f32(out), 1.0F + 0x1p-7F);
}

TEST(Communicator, SaysWhatItIs) {
  World one(threads_world(1));
  World three(threads_world(3));
  run_ranks(one, [](Communicator& c) { EXPECT_EQ(c.description(), "solo"); });
  run_ranks(three, [](Communicator& c) {
    EXPECT_EQ(c.description(), "threads (3 CPU ranks)");
    EXPECT_EQ(c.size(), 3);
  });
}

TEST(Communicator, RefusesWhatDoesNotFitBeforeAnyoneWaits) {
  World world(threads_world(1));
  run_ranks(world, [](Communicator& c) {
    Values f32(DType::kF32, 4), bf16(DType::kBF16, 4), bytes(DType::kU8, 4), three(DType::kF32, 3);
    EXPECT_THROW(c.all_reduce(bytes.tensor(), Reduction::kSum, "u8"), Error);
    EXPECT_THROW(c.all_gather(f32.tensor(), bf16.tensor(), "types"), Error);
    EXPECT_THROW(c.reduce_scatter(three.tensor(), f32.tensor(), Reduction::kSum, "sizes"), Error);
    EXPECT_THROW(c.broadcast(f32.tensor(), 1, "root"), Error);
    EXPECT_THROW(
        c.all_reduce(Tensor(f32.at(0), DType::kF32, {4}, {DeviceKind::kCuda, 0}), Reduction::kSum, "gpu"),
        Error);
    EXPECT_EQ(c.broadcast(f32.tensor(), 0, "fine").sequence(), 1U) << "a refusal takes no number";
  });
}

TEST(Communicator, AGroupGivesTheSameResults) {
  World world(threads_world(3));
  const auto errors = run_ranks(world, [](Communicator& c) {
    std::vector<Values> many;
    for (int i = 0; i < 20; ++i) {
      many.emplace_back(DType::kF32, i);
      for (std::int64_t k = 0; k < i; ++k) many.back().set(k, c.rank() + static_cast<double>(k));
    }
    c.group_begin();
    Ticket last;
    for (Values& values : many) last = c.all_reduce(values.tensor(), Reduction::kSum, "small");
    c.group_end();
    last.wait();
    EXPECT_EQ(last.sequence(), 20U);
    for (Values& values : many) {
      for (std::int64_t k = 0; k < values.count(); ++k)
        EXPECT_EQ(values.get(k), 3.0 + 3.0 * static_cast<double>(k));
    }
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Communicator, ABarrierHoldsEveryoneUntilTheLastIsThere) {
  World world(threads_world(3));
  std::atomic<int> arrived{0};
  const auto errors = run_ranks(world, [&](Communicator& c) {
    for (int round = 1; round <= 20; ++round) {
      ++arrived;
      c.barrier("round");
      EXPECT_GE(arrived.load(), 3 * round);
    }
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

}  // namespace
}  // namespace rlcpp::dist
