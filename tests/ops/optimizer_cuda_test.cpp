// What AdamW can do on CUDA alone: the working copy of the weights in bf16, and moments kept in bf16, rounded
// stochastically.
#include "ops/ops_support.h"
#include "ops/optimizer.h"

namespace rlcpp::test {
namespace {

using AdamWOnCuda = OnEveryDevice;
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(AdamWOnCuda);
INSTANTIATE_TEST_SUITE_P(, AdamWOnCuda, a_gpu(), device_name);

struct State {
  Floats w, m, v, g, working;
  std::int64_t size() const { return static_cast<std::int64_t>(w.size()); }
};

State random_state(Random& random, std::int64_t n) {
  State s = {random.normal(n), random.normal(n, 0.01F), random.normal(n, 0.01F), random.normal(n, 0.1F),
             poisoned(n)};
  for (float& value : s.m) value = round_to_bf16(value);
  for (float& value : s.v) value = round_to_bf16(value * value);
  return s;
}

// All elements alike: the mean over them shows what rounding keeps.
State equal_state(std::int64_t n, float w, float m, float v, float g) {
  const auto all = [n](float value) { return Floats(static_cast<std::size_t>(n), value); };
  return {all(w), all(m), all(v), all(g), poisoned(n)};
}

void update(const ops::Context& ctx, State& s, DType moments, const ops::AdamWStep& step) {
  const std::int64_t n = s.size();
  ops::adamw(ctx, f32(ctx, s.w, {n}), Mirror(ctx, s.m, moments, {n}), Mirror(ctx, s.v, moments, {n}),
             f32(ctx, s.g, {n}), step, on(ctx, s.working, {n}));
}

double mean_of(const Floats& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return sum / static_cast<double>(values.size());
}

// The bf16 value at or below |x|, with x's sign.
float towards_zero(float x) {
  return bf16_to_f32(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16));
}
float away_from_zero(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return bf16_to_f32(static_cast<std::uint16_t>((bits + 0xFFFFU) >> 16));
}

// Each of its operations is rounded by itself, in the order of the CPU.
TEST_P(AdamWOnCuda, F32MomentsGiveTheBitsOfTheCpu) {
  Random random;
  State gpu = random_state(random, 30007);
  State cpu = gpu;
  for (std::int64_t t = 1; t <= 5; ++t) {
    const ops::AdamWStep step = {1e-3, 0.9, 0.95, 1e-8, 0.01, t, 0.7F};
    update(context(), gpu, DType::kF32, step);
    const std::int64_t n = cpu.size();
    ops::adamw(cpu_context(), view(cpu.w, {n}), view(cpu.m, {n}), view(cpu.v, {n}), view(cpu.g, {n}), step);
  }
  expect_same_bits(gpu.w, cpu.w, "w");
  expect_same_bits(gpu.m, cpu.m, "m");
  expect_same_bits(gpu.v, cpu.v, "v");
}

TEST_P(AdamWOnCuda, SgdAndSignSgdGiveTheBitsOfTheCpuAndTheirWorkingCopies) {
  Random random;
  for (const bool sign : {false, true}) {
    State gpu = random_state(random, 30007);
    State cpu = gpu;
    const std::int64_t n = cpu.size();
    for (int t = 0; t < 5; ++t) {
      const ops::SgdStep sgd = {1e-3, 0.9, true, 0.01, 0.7F};
      if (sign) {
        ops::sign_sgd(context(), f32(context(), gpu.w, {n}), f32(context(), gpu.g, {n}), {1e-3, 0.1},
                      on(context(), gpu.working, {n}));
        ops::sign_sgd(cpu_context(), view(cpu.w, {n}), view(cpu.g, {n}), {1e-3, 0.1});
      } else {
        ops::sgd(context(), f32(context(), gpu.w, {n}), f32(context(), gpu.m, {n}),
                 f32(context(), gpu.g, {n}), sgd, on(context(), gpu.working, {n}));
        ops::sgd(cpu_context(), view(cpu.w, {n}), view(cpu.m, {n}), view(cpu.g, {n}), sgd);
      }
    }
    expect_same_bits(gpu.w, cpu.w, "w");
    expect_same_bits(gpu.m, cpu.m, "m");
    Floats nearest = gpu.w;
    for (float& value : nearest) value = round_to_bf16(value);
    expect_same_bits(gpu.working, nearest, "working copy");
  }
}

TEST_P(AdamWOnCuda, TheWorkingCopyIsTheWeightRoundedToNearest) {
  const ops::Context ctx = context();
  Random random;
  for (const std::int64_t n : {1, 7, 4096, 50001}) {
    for (const DType moments : {DType::kF32, DType::kBF16}) {
      State s = random_state(random, n);
      State without = s;
      const ops::AdamWStep step = {1e-3, 0.9, 0.999, 1e-8, 0.01, 3, 0.5F, 11};
      update(ctx, s, moments, step);
      Floats nearest = s.w;
      for (float& value : nearest) value = round_to_bf16(value);
      expect_same_bits(s.working, nearest, "working copy");
      ops::adamw(ctx, f32(ctx, without.w, {n}), Mirror(ctx, without.m, moments, {n}),
                 Mirror(ctx, without.v, moments, {n}), f32(ctx, without.g, {n}), step);
      expect_same_bits(s.w, without.w, "weights with and without a copy");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AdamWOnCuda, MomentsAreOneOfTheTwoNeighbours) {
  const ops::Context ctx = context();
  Random random;
  const std::int64_t n = 20011;
  State half = random_state(random, n);
  State full = half;
  const Floats before = half.w;
  const ops::AdamWStep step = {1e-3, 0.9, 0.95, 1e-8, 0, 5, 0.7F, 1234};
  update(ctx, full, DType::kF32, step);
  update(ctx, half, DType::kBF16, step);
  int away = 0;
  for (std::size_t i = 0; i < half.m.size(); ++i) {
    for (const auto& [kept, exact] : {std::pair{half.m[i], full.m[i]}, std::pair{half.v[i], full.v[i]}}) {
      ASSERT_TRUE(kept == towards_zero(exact) || kept == away_from_zero(exact))
          << "element " << i << ": " << kept << " for " << exact;
      away += kept == away_from_zero(exact) ? 1 : 0;
    }
    // The weight may see the moments before or after they are rounded: m to 2^-7, the root of v to 2^-8.
    const float bound = 0x1p-6F * std::abs(full.w[i] - before[i]) + 0x1p-22F * (1 + std::abs(before[i]));
    ASSERT_LE(std::abs(full.w[i] - half.w[i]), bound) << "element " << i;
  }
  // Half of 40022 draws go up: ten standard deviations either way.
  EXPECT_NEAR(away, n, 1000);
}

TEST_P(AdamWOnCuda, RoundingKeepsTheMean) {
  const ops::Context ctx = context();
  Random random;
  const std::int64_t n = 100000;
  State half = equal_state(n, 0.3F, round_to_bf16(0.0123F), round_to_bf16(2.5e-4F), 0.0321F);
  State full = equal_state(1, half.w[0], half.m[0], half.v[0], half.g[0]);
  const std::uint64_t seed = random.rng().next_u64();
  for (std::int64_t t = 1; t <= 20; ++t) {
    // With beta2 = 0.999 one step changes v by less than half a unit of bf16: nearest would never move it.
    const ops::AdamWStep step = {1e-3, 0.9, 0.999, 1e-8, 0, t, 1.0F, seed + static_cast<std::uint64_t>(t)};
    update(ctx, full, DType::kF32, step);
    update(ctx, half, DType::kBF16, step);
    // Each rounding adds at most a unit (2^-7) of spread to an element, so t of them sqrt(t) of it to the
    // mean of n elements at most; six standard deviations.
    const double spread = 6 * 0x1p-7 * std::sqrt(static_cast<double>(t) / static_cast<double>(n));
    ASSERT_NEAR(mean_of(half.m), full.m[0], spread * std::abs(full.m[0])) << "m, step " << t;
    ASSERT_NEAR(mean_of(half.v), full.v[0], spread * full.v[0]) << "v, step " << t;
  }
  EXPECT_GT(std::abs(full.v[0] - round_to_bf16(2.5e-4F)), 0.01F * full.v[0]) << "the test moves v";
}

TEST_P(AdamWOnCuda, DrawsAreAFunctionOfTheSeedAndThePlace) {
  const ops::Context ctx = context();
  Random random;
  const std::int64_t n = 30001;
  const State start = random_state(random, n);
  ops::AdamWStep step = {1e-3, 0.9, 0.95, 1e-8, 0.01, 2, 1.0F, 42};
  State a = start, b = start, other = start;
  update(ctx, a, DType::kBF16, step);
  update(ctx, b, DType::kBF16, step);
  expect_same_bits(a.m, b.m, "m with one seed");
  expect_same_bits(a.v, b.v, "v with one seed");
  expect_same_bits(a.w, b.w, "w with one seed");
  step.rounding_seed = 43;
  update(ctx, other, DType::kBF16, step);
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.m.size(); ++i) different += a.m[i] != other.m[i] ? 1 : 0;
  EXPECT_GT(different, a.m.size() / 5);  // about a third if the draws are independent
  // m and v of one element do not share their draw: given that m went up, v goes up as often as not.
  State full = start;
  update(ctx, full, DType::kF32, step);
  int both = 0, m_up = 0, v_up = 0;
  for (std::size_t i = 0; i < a.m.size(); ++i) {
    const bool m = other.m[i] == away_from_zero(full.m[i]), v = other.v[i] == away_from_zero(full.v[i]);
    m_up += m ? 1 : 0;
    v_up += v ? 1 : 0;
    both += m && v ? 1 : 0;
  }
  const double expected = static_cast<double>(m_up) * v_up / static_cast<double>(n);
  EXPECT_NEAR(both, expected, 10 * std::sqrt(static_cast<double>(n)) / 2);
}

}  // namespace
}  // namespace rlcpp::test
