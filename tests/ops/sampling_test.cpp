#include "ops/sampling.h"

#include <algorithm>
#include <set>

#include "ops/cpu/sampling.h"
#include "ops/head.h"
#include "ops/ops_support.h"
#include "ops/reference/sampling.h"

namespace rlcpp::test {
namespace {

// As the engine calls it: divided by the temperature with head_logits' division if plain, raw otherwise.
ops::SampledToken sample(const ops::cpu::Kernels& kernels, Floats logits, const ops::SamplingParams& params,
                         const Ints& seen, float uniform) {
  const auto n = static_cast<std::int64_t>(logits.size());
  if (params.plain() && params.temperature != 1.0F) kernels.divide(logits.data(), n, params.temperature);
  const float lse = kernels.row_statistics(logits.data(), n).lse;
  return ops::cpu::sample_row(kernels, logits, lse, params, seen, uniform);
}
ops::SampledToken sample(const Floats& logits, const ops::SamplingParams& params, const Ints& seen,
                         float uniform) {
  return sample(ops::cpu::best_kernels(), logits, params, seen, uniform);
}

// For many draws: the token is the inverse CDF of the reference distribution (up to rounding at the borders),
// and its log-probability is the reference's.
void expect_inverse_cdf(const Floats& logits, const ops::SamplingParams& params, const Ints& seen,
                        Random& random) {
  const Doubles p = ops::reference::sampling_distribution(to_double(logits), params, seen);
  std::vector<float> uniforms = {0.0F, 0x1.fffffep-1F};
  for (int i = 0; i < 60; ++i) uniforms.push_back(random.uniform());
  for (const float uniform : uniforms) {
    const ops::SampledToken token = sample(logits, params, seen, uniform);
    ASSERT_GE(token.id, 0);
    ASSERT_LT(token.id, static_cast<std::int32_t>(p.size()));
    ASSERT_GT(p[token.id], 0) << "token " << token.id << " cannot be drawn";
    ASSERT_NEAR(token.logprob, std::log(p[token.id]), 2e-6 * (1 + std::abs(std::log(p[token.id]))));
    double below = 0;
    for (std::int32_t id = 0; id < token.id; ++id) below += p[id];
    ASSERT_LE(below, uniform + 1e-6);
    ASSERT_GE(below + p[token.id], uniform - 1e-6);
  }
}

TEST(Sampling, DrawsFromTheReferenceDistribution) {
  Random random;
  for (int trial = 0; trial < 60; ++trial) {
    const std::int64_t vocabulary = trial < 10 ? random.between(1, 20) : random.between(2, 3000);
    const Floats logits = random.normal(vocabulary, 3.0F);
    ops::SamplingParams params;
    if (trial % 2 == 1) params.temperature = 0.3F + 1.5F * random.uniform();
    if (trial % 3 == 1) params.top_k = static_cast<std::int32_t>(random.between(1, vocabulary + 5));
    if (trial % 4 >= 2) params.top_p = 0.05F + 0.94F * random.uniform();
    if (trial % 5 == 2) params.min_p = 0.3F * random.uniform();
    if (trial % 7 >= 5) params.repetition_penalty = 0.7F + random.uniform();
    Ints seen = random.below(random.between(0, 40), vocabulary);
    expect_inverse_cdf(logits, params, seen, random);
    if (HasFatalFailure()) return;
  }
}

TEST(Sampling, TopKOfOneIsTheMaximum) {
  Random random;
  const Floats logits = random.normal(500);
  const auto best =
      static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  ops::SamplingParams params;
  params.top_k = 1;
  for (const float uniform : {0.0F, 0.5F, 0.999999F}) {
    const ops::SampledToken token = sample(logits, params, {}, uniform);
    EXPECT_EQ(token.id, best);
    EXPECT_EQ(token.logprob, 0.0F);
  }
  params.top_k = -1;
  params.top_p = 1e-6F;
  EXPECT_EQ(sample(logits, params, {}, 0.7F).id, best);
  params.top_p = 1.0F;
  params.min_p = 1.0F;
  EXPECT_EQ(sample(logits, params, {}, 0.7F).id, best);
}

TEST(Sampling, TiesAtTheTopKBorderStay) {
  const Floats logits = {1, 3, 2, 2, 2, 0};
  ops::SamplingParams params;
  params.top_k = 2;
  std::set<std::int32_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.insert(sample(logits, params, {}, static_cast<float>(i) / 100).id);
  EXPECT_EQ(drawn, (std::set<std::int32_t>{1, 2, 3, 4}));
}

TEST(Sampling, TiesAtTheTopPBorderPreferTheLowerId) {
  const Floats logits(8, 1.5F);  // each 1/8
  ops::SamplingParams params;
  params.top_p = 0.3F;  // before the third token weigh 2/8 < 0.3
  std::set<std::int32_t> drawn;
  for (int i = 0; i < 100; ++i) drawn.insert(sample(logits, params, {}, static_cast<float>(i) / 100).id);
  EXPECT_EQ(drawn, (std::set<std::int32_t>{0, 1, 2}));
  // More equal tokens than one sorted piece of the order.
  params.top_p = 0.5F;
  const Floats many(1000, 0.0F);
  EXPECT_EQ(sample(many, params, {}, 0x1.fffffep-1F).id, 499);
}

TEST(Sampling, GreedyTakesTheFirstMaximumAtTemperatureOne) {
  Random random;
  Floats logits = random.normal(100);
  logits[70] = logits[20] = 9.0F;
  ops::SamplingParams params;
  params.temperature = 0;
  const float lse = ops::cpu::best_kernels().row_statistics(logits.data(), 100).lse;
  const ops::SampledToken token = sample(logits, params, {}, 0.4F);
  EXPECT_EQ(token.id, 20);
  EXPECT_EQ(token.logprob, 9.0F - lse);
  // With a penalty: that of the penalised logits.
  params.repetition_penalty = 2.0F;
  const ops::SampledToken other = sample(logits, params, {20, 20, 20}, 0.4F);
  EXPECT_EQ(other.id, 70);
  ops::SamplingParams at_one = params;
  at_one.temperature = 1;
  const Doubles p = ops::reference::sampling_distribution(to_double(logits), at_one, {20});
  EXPECT_NEAR(other.logprob, std::log(p[70]), 1e-6);
}

TEST(Sampling, PenaltyDividesPositiveAndMultipliesNegativeLogitsOnce) {
  const Floats logits = {2.0F, -2.0F, 2.0F, -2.0F};
  ops::SamplingParams params;
  params.repetition_penalty = 2.0F;
  const Doubles z = {1.0, -4.0, 2.0, -2.0};
  double sum = 0;
  for (const double value : z) sum += std::exp(value);
  for (int i = 0; i < 50; ++i) {
    const ops::SampledToken token = sample(logits, params, {0, 1, 1, 0}, static_cast<float>(i) / 50);
    EXPECT_NEAR(token.logprob, z[token.id] - std::log(sum), 1e-6);
  }
}

TEST(Sampling, PlainLogprobIsTheHeads) {
  Random random;
  Floats logits = random.normal(300, 2.0F);
  const float lse = ops::cpu::best_kernels().row_statistics(logits.data(), 300).lse;
  for (int i = 0; i < 50; ++i) {
    const ops::SampledToken token = ops::sample_row(logits, lse, ops::SamplingParams(), {}, random.uniform());
    EXPECT_EQ(token.logprob, logits[token.id] - lse);
  }
}

// Tokens without probability are never drawn, at the ends of the range included.
TEST(Sampling, ImpossibleTokensAreNeverDrawn) {
  Floats logits(600, -INFINITY);
  logits[300] = 0.0F;
  logits[301] = 0.0F;
  for (const float uniform : {0.0F, 0.25F, 0.5F, 0.75F, 0x1.fffffep-1F}) {
    const ops::SampledToken token = sample(logits, ops::SamplingParams(), {}, uniform);
    EXPECT_EQ(token.id, uniform < 0.5F ? 300 : 301);
  }
}

TEST(Sampling, FrequenciesFollowTheProbabilities) {
  Random random;
  const Floats logits = {0.0F, 1.0F, -1.0F, 2.0F, 0.5F};
  const Doubles p = ops::reference::sampling_distribution(to_double(logits), ops::SamplingParams(), {});
  constexpr int kDraws = 40000;
  Doubles counts(p.size());
  const std::uint64_t seed = random.rng().next_u64();
  for (int i = 0; i < kDraws; ++i)
    counts[sample(logits, ops::SamplingParams(), {}, ops::draw_uniform(seed, i)).id] += 1;
  double chi_square = 0;
  for (std::size_t id = 0; id < p.size(); ++id) {
    const double expected = kDraws * p[id];
    chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
  }
  EXPECT_LT(chi_square, 33.4);  // 4 degrees of freedom: exceeded once in a million
}

TEST(Sampling, UniformDrawsArePureAndApart) {
  EXPECT_EQ(ops::draw_uniform(7, 3), ops::draw_uniform(7, 3));
  std::set<float> values;
  double sum = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (std::int64_t index = 0; index < 50; ++index) {
      const float u = ops::draw_uniform(seed, index);
      ASSERT_GE(u, 0.0F);
      ASSERT_LT(u, 1.0F);
      values.insert(u);
      sum += static_cast<double>(u);
    }
  }
  EXPECT_GT(values.size(), 2490U);
  EXPECT_NEAR(sum / 2500, 0.5, 0.03);
}

TEST(Sampling, SameChoiceWithAllSets) {
  Random random;
  for (int trial = 0; trial < 30; ++trial) {
    const Floats logits = random.normal(random.between(1, 2000), 4.0F);
    ops::SamplingParams params;
    if (trial % 2 == 1) params.top_p = 0.8F;
    if (trial % 3 == 1) params.temperature = 0.7F;
    const float uniform = random.uniform();
    same_bits_everywhere(
        [&](const ops::Context& ctx) {
          const ops::SampledToken token = sample(*ctx.kernels, logits, params, {}, uniform);
          return Floats{static_cast<float>(token.id), token.logprob};
        },
        "sampling");
    if (HasFatalFailure()) return;
  }
}

TEST(Sampling, LogitsThatAreNotFiniteAreRefused) {
  Floats logits(300, 1.0F);
  logits[123] = NAN;
  ops::SamplingParams params;
  EXPECT_THROW(sample(logits, params, {}, 0.5F), Error);
  params.temperature = 0;
  EXPECT_THROW(sample(logits, params, {}, 0.5F), Error);
  params.temperature = 0.5F;
  params.top_p = 0.9F;
  EXPECT_THROW(sample(logits, params, {}, 0.5F), Error);
}

using SampleRows = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, SampleRows, every_device(), device_name);

// Rows at once: the id is where the cumulative probability, in double, passes the uniform number.
TEST_P(SampleRows, DrawsByTheCumulativeDistribution) {
  const ops::Context ctx = context();
  Random random;
  for (const std::int64_t vocabulary :
       {std::int64_t{1}, std::int64_t{33}, std::int64_t{1024}, std::int64_t{5003}, std::int64_t{151936}}) {
    const std::int64_t rows = 9;
    Floats logits = random.normal(rows * vocabulary);
    for (float& z : logits) z *= 6.0F;
    Floats temperatures, uniforms, logprobs = poisoned(rows);
    for (std::int64_t r = 0; r < rows; ++r) {
      temperatures.push_back(r % 3 == 0 ? 1.0F : r % 3 == 1 ? 0.0F : 0.7F);
      uniforms.push_back(r == 0 ? 0.0F : r == 3 ? 1.0F - 0x1p-24F : random.uniform());
    }
    if (vocabulary > 1) logits[2 * vocabulary + 1] = -INFINITY;
    Ints ids(rows, -7);
    const Floats before = logits;
    ops::sample_rows(ctx, i32(ctx, ids, {rows}), f32(ctx, logprobs, {rows}),
                     f32(ctx, logits, {rows, vocabulary}), f32(ctx, temperatures, {rows}),
                     f32(ctx, uniforms, {rows}));
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* const z = before.data() + r * vocabulary;
      const float t = temperatures[r] == 0.0F ? 1.0F : temperatures[r];
      double most = -INFINITY, total = 0;
      for (std::int64_t i = 0; i < vocabulary; ++i) most = std::max(most, static_cast<double>(z[i]) / t);
      for (std::int64_t i = 0; i < vocabulary; ++i) total += std::exp(static_cast<double>(z[i]) / t - most);
      ASSERT_GE(ids[r], 0);
      ASSERT_LT(ids[r], vocabulary);
      EXPECT_NEAR(logprobs[r], static_cast<double>(z[ids[r]]) / t - most - std::log(total), 2e-5);
      if (temperatures[r] == 0.0F) {
        EXPECT_EQ(ids[r], std::max_element(z, z + vocabulary) - z);
        continue;
      }
      double below = 0;
      for (std::int64_t i = 0; i < ids[r]; ++i)
        below += std::exp(static_cast<double>(z[i]) / t - most) / total;
      const double up_to = below + std::exp(static_cast<double>(z[ids[r]]) / t - most) / total;
      EXPECT_LE(below, uniforms[r] + 1e-5) << "row " << r << " of " << vocabulary;
      EXPECT_GE(up_to, uniforms[r] - 1e-5) << "row " << r << " of " << vocabulary;
      EXPECT_GT(up_to, below);
    }
  }
}

TEST_P(SampleRows, ARowThatIsNotFiniteHasNoToken) {
  const ops::Context ctx = context();
  Random random;
  for (const float bad : {std::nanf(""), INFINITY}) {
    Floats logits = random.normal(4 * 3000);
    logits[1 * 3000 + 2999] = bad;
    std::fill_n(logits.begin() + 3 * 3000, 3000, -INFINITY);
    Floats temperatures = {1.0F, 1.0F, 0.0F, 0.0F}, uniforms(4, 0.5F), logprobs = poisoned(4);
    Ints ids(4, -7);
    ops::sample_rows(ctx, i32(ctx, ids, {4}), f32(ctx, logprobs, {4}), f32(ctx, logits, {4, 3000}),
                     f32(ctx, temperatures, {4}), f32(ctx, uniforms, {4}));
    EXPECT_GE(ids[0], 0);
    EXPECT_EQ(ids[1], -1);
    EXPECT_GE(ids[2], 0);
    EXPECT_EQ(ids[3], -1);
  }
}

}  // namespace
}  // namespace rlcpp::test
