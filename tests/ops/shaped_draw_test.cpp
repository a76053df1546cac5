// The passes that a GPU's blocks make over a row, made by host threads: the same result whatever their
// number, and the reference's. (tests/ops/shaped_rows_test.cpp asks the devices themselves.)
#include <atomic>
#include <barrier>
#include <bit>
#include <thread>

#include "ops/shaped_cases.h"

#ifndef __device__
#define __device__
#define RLCPP_TEST_DEFINED_DEVICE
#endif
#include "ops/cuda/shaped_draw.cuh"
#ifdef RLCPP_TEST_DEFINED_DEVICE
#undef __device__
#undef RLCPP_TEST_DEFINED_DEVICE
#endif

namespace rlcpp::test {
namespace {

// What the threads of a team have in common.
struct Crew {
  explicit Crew(int threads)
      : size(threads),
        meeting(threads),
        floats(static_cast<std::size_t>(threads)),
        numbers(static_cast<std::size_t>(threads)) {}
  int size;
  std::barrier<> meeting;
  Floats floats;
  std::vector<std::uint64_t> numbers;
};

// Warps of one thread.
class HostTeam {
 public:
  HostTeam(Crew& crew, int rank) : crew_(crew), rank_(rank) {}
  int rank() const { return rank_; }
  int size() const { return crew_.size; }
  void sync() const { crew_.meeting.arrive_and_wait(); }
  int warp() const { return rank_; }
  int warps() const { return crew_.size; }
  int lane() const { return 0; }
  int lanes() const { return 1; }
  template <class T>
  T warp_sum(T value) const {
    return value;
  }
  bool any(bool value) const { return sum(value ? 1 : 0) != 0; }
  float most(float value) const {
    crew_.floats[static_cast<std::size_t>(rank_)] = value;
    sync();
    const float out = *std::ranges::max_element(crew_.floats);
    sync();
    return out;
  }
  std::int32_t least(std::int32_t value) const {
    return static_cast<std::int32_t>(gather(static_cast<std::uint64_t>(value),
                                            [](const auto& all) { return *std::ranges::min_element(all); }));
  }
  std::uint64_t sum(std::uint64_t value) const {
    return gather(value, [](const auto& all) {
      std::uint64_t total = 0;
      for (const std::uint64_t one : all) total += one;
      return total;
    });
  }
  void add(std::uint64_t* to, std::uint64_t value) const {
    std::atomic_ref(*to).fetch_add(value, std::memory_order_relaxed);
  }
  void mark(std::uint32_t* to, std::uint32_t bits) const {
    std::atomic_ref(*to).fetch_or(bits, std::memory_order_relaxed);
  }
  float exp(float x) const { return std::exp(x); }
  double log(double x) const { return std::log(x); }
  std::uint32_t bits(float x) const { return std::bit_cast<std::uint32_t>(x); }
  float value(std::uint32_t x) const { return std::bit_cast<float>(x); }

 private:
  template <class Of>
  std::uint64_t gather(std::uint64_t value, Of of) const {
    crew_.numbers[static_cast<std::size_t>(rank_)] = value;
    sync();
    const std::uint64_t out = of(crew_.numbers);
    sync();
    return out;
  }
  Crew& crew_;
  int rank_;
};

struct Drawn {
  std::int32_t id = -7;
  float logprob = 0;
};

Drawn draw(const ShapedCase& c, int threads) {
  const auto vocabulary = static_cast<std::int32_t>(c.logits.size());
  const auto tiles =
      static_cast<std::size_t>((vocabulary + ops::cuda::kShapedTile - 1) / ops::cuda::kShapedTile);
  Floats row = c.logits;
  const std::set<std::int32_t> unlike(c.forbidden.begin(), c.forbidden.end());
  const Ints forbidden(unlike.begin(), unlike.end());
  Ints lists(c.seen.size() + forbidden.size() + 1, -1);
  ops::ShapedRow request = request_of(c, 0);
  request.forbidden_count = static_cast<std::int32_t>(forbidden.size());
  request.forbidden = static_cast<std::int32_t>(ops::write_shaped_list(lists, c.seen, vocabulary));
  ops::write_shaped_list(std::span(lists).subspan(static_cast<std::size_t>(request.forbidden)), forbidden,
                         vocabulary);
  // Poisoned, as memory of a device is.
  std::vector<std::uint32_t> marks(static_cast<std::size_t>((vocabulary + 31) / 32), 0xdeadbeefU),
      ties(tiles, 77);
  std::vector<std::uint64_t> cells(ops::cuda::kShapedCells, 77), groups(ops::cuda::kShapedGroups, 77),
      of_tile(tiles, 77);
  ops::cuda::ShapedPlace place;
  const ops::cuda::ShapedMemory memory = {cells.data(), groups.data(), of_tile.data(), ties.data(), &place};
  Crew crew(threads);
  std::vector<Drawn> drawn(static_cast<std::size_t>(threads));
  {
    std::vector<std::jthread> all;
    for (int rank = 0; rank < threads; ++rank) {
      all.emplace_back([&, rank] {
        Drawn& mine = drawn[static_cast<std::size_t>(rank)];
        ops::cuda::draw_shaped(HostTeam(crew, rank), memory, row.data(), vocabulary, request, lists.data(),
                               marks.data(), mine.id, mine.logprob);
      });
    }
  }
  for (const Drawn& one : drawn) {
    EXPECT_EQ(one.id, drawn[0].id);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(one.logprob), std::bit_cast<std::uint32_t>(drawn[0].logprob));
  }
  return drawn[0];
}

TEST(ShapedDraw, IsTheReferencesWithAnyNumberOfThreads) {
  Random random;
  for (int trial = 0; trial < 400; ++trial) {
    const std::int64_t vocabulary = trial % 10 == 0   ? random.between(1, 20)
                                    : trial % 10 == 1 ? random.between(3000, 20000)
                                                      : random.between(2, 3000);
    const ShapedCase c = random_shaped_case(vocabulary, trial, random);
    const Drawn first = draw(c, 1);
    expect_shaped_draw(c, first.id, first.logprob, "trial " + std::to_string(trial));
    for (const int threads : {2, 5}) {
      const Drawn other = draw(c, threads);
      EXPECT_EQ(other.id, first.id) << text_of(c);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(other.logprob), std::bit_cast<std::uint32_t>(first.logprob))
          << text_of(c);
    }
    if (HasFailure()) return;
  }
}

TEST(ShapedDraw, TakesAVocabularyOfARealModel) {
  Random random;
  for (int trial = 0; trial < 12; ++trial) {
    const ShapedCase c = random_shaped_case(151936, trial, random);
    const Drawn drawn = draw(c, 3);
    expect_shaped_draw(c, drawn.id, drawn.logprob, "trial " + std::to_string(trial));
    if (HasFailure()) return;
  }
}

TEST(ShapedDraw, RowsThatAreNotFiniteHaveNoToken) {
  Random random;
  for (int trial = 0; trial < 60; ++trial) {
    ShapedCase c = random_shaped_case(2500, trial, random);
    c.forbidden.clear();
    const auto place = static_cast<std::size_t>(random.between(0, 2499));
    if (trial % 3 == 2) {
      std::ranges::fill(c.logits, -INFINITY);
    } else {
      c.logits[place] = trial % 3 == 0 ? NAN : INFINITY;
    }
    EXPECT_EQ(draw(c, 2).id, -1) << text_of(c);
  }
}

}  // namespace
}  // namespace rlcpp::test
