#include "ops/random.h"

#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "ops/back_ends.h"
#include "support.h"
#include "tensor/arena.h"
#include "tensor/copy.h"

namespace rlcpp::ops {
namespace {

class Random : public test::OnEveryDevice {
 protected:
  // `size` values of the sequence from `first` on, in memory of the device; checks that nothing beside is
  // written.
  std::vector<float> values(std::int64_t size, DType type, const NormalStream& stream, float range,
                            std::int64_t first = 0, ThreadPool* pool = nullptr) {
    constexpr std::int64_t kBeside = 8;
    MemoryPlan plan;
    const RegionId id = plan.add(MemoryUse::kActivations, "values", type, {size + 2 * kBeside});
    const Arena arena(std::move(plan), context().device);
    const std::vector<float> before(static_cast<std::size_t>(size + 2 * kBeside), -77.0F);
    from_floats(arena[id], before);
    fill_normal(arena[id].rows(kBeside, size), stream, range, first, pool);
    const std::vector<float> all = to_floats(arena[id]);
    for (std::int64_t i = 0; i < kBeside; ++i) {
      EXPECT_EQ(all[static_cast<std::size_t>(i)], -77.0F);
      EXPECT_EQ(all[static_cast<std::size_t>(kBeside + size + i)], -77.0F);
    }
    return {all.begin() + kBeside, all.end() - kBeside};
  }
  // Both uniforms as base/rng.h gives them, and Box and Muller in f64.
  static double reference(const NormalStream& s, std::int64_t element) {
    const std::int64_t word = element % kNormalPiece / 64;
    const auto number = static_cast<std::uint64_t>(element / kNormalPiece * 64 + element % 64);
    const PhiloxBlock block = philox4x32(number, s.stream, s.seed);
    const auto at = static_cast<std::size_t>(word / 2 * 2);
    const double u1 = ((block[at] >> 8) + 1) * 0x1p-24, u2 = (block[at + 1] >> 8) * 0x1p-24;
    const double angle = 2 * M_PI * u2;
    return std::sqrt(-2 * std::log(u1)) * (word % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }
  Rng rng_{test::fresh_seed()};
  NormalStream fresh() { return {rng_.next_u64(), rng_.next_u64()}; }
};
INSTANTIATE_TEST_SUITE_P(, Random, test::every_device(), test::device_name);

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST_P(Random, AgreesWithBoxAndMullerInDoubleAndHasTheMomentsOfANormal) {
  const NormalStream stream = fresh();
  constexpr std::int64_t kSize = 2'000'003;
  const std::vector<float> got = values(kSize, DType::kF32, stream, 1.0F);
  double worst = 0, sum = 0, squares = 0, fourth = 0, neighbours = 0;
  for (std::int64_t i = 0; i < kSize; ++i) {
    const double value = got[static_cast<std::size_t>(i)];
    worst = std::max(worst, std::abs(value - reference(stream, i)));
    sum += value;
    squares += value * value;
    fourth += value * value * value * value;
    if (i > 0) neighbours += value * got[static_cast<std::size_t>(i - 1)];
  }
  EXPECT_LT(worst, 3e-6);
  const double n = kSize;  // within five standard errors
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96 / n));
  EXPECT_NEAR(neighbours / n, 0, 5 / std::sqrt(n));
}

TEST_P(Random, HasTheSameBitsOnEveryDeviceAndWithAnyThreads) {
  const NormalStream stream = fresh();
  for (const std::int64_t size : {1, 63, 64, 255, 256, 257, 65535, 65537, 1'500'001}) {
    const std::vector<float> got = values(size, DType::kF32, stream, 0.02F);
    std::vector<float> wanted(static_cast<std::size_t>(size));
    for (const int threads : {1, 3}) {
      fill_normal(host_view(std::span(wanted), DType::kF32), stream, 0.02F, 0, &test::shared_pool(threads));
      ASSERT_TRUE(same_bits(got, wanted)) << size << " values, " << threads << " threads";
    }
  }
}

TEST_P(Random, APartHasTheBitsOfTheWhole) {
  const NormalStream stream = fresh();
  constexpr std::int64_t kSize = 700'001;
  const std::vector<float> whole = values(kSize, DType::kF32, stream, 0.5F);
  for (int i = 0; i < 20; ++i) {
    const auto first = static_cast<std::int64_t>(rng_.below(kSize / kNormalPiece)) * kNormalPiece;
    const auto size = 1 + static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(kSize - first)));
    const std::vector<float> part = values(size, DType::kF32, stream, 0.5F, first, &test::shared_pool(2));
    ASSERT_TRUE(same_bits(part, std::span(whole).subspan(static_cast<std::size_t>(first), part.size())))
        << size << " from " << first;
  }
}

TEST_P(Random, Bf16IsTheRoundedF32) {
  const NormalStream stream = fresh();
  const std::vector<float> wide = values(300'001, DType::kF32, stream, 0.02F);
  const std::vector<float> narrow = values(300'001, DType::kBF16, stream, 0.02F);
  for (std::size_t i = 0; i < wide.size(); ++i) ASSERT_EQ(narrow[i], bf16_to_f32(f32_to_bf16(wide[i]))) << i;
}

TEST_P(Random, OtherSeedsAndStreamsAreOtherNumbers) {
  const NormalStream stream = fresh();
  const std::vector<float> got = values(256, DType::kF32, stream, 1);
  EXPECT_TRUE(same_bits(got, values(256, DType::kF32, stream, 1)));
  for (const NormalStream& other : {NormalStream{stream.seed + 1, stream.stream},
                                    NormalStream{stream.seed, stream.stream + (std::uint64_t{1} << 32)}}) {
    const std::vector<float> numbers = values(256, DType::kF32, other, 1);
    int equal = 0;
    for (std::size_t i = 0; i < got.size(); ++i) equal += got[i] == numbers[i] ? 1 : 0;
    EXPECT_LT(equal, 5);
  }
}

}  // namespace
}  // namespace rlcpp::ops
