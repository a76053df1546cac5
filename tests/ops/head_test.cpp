#include "ops/head.h"

#include <algorithm>

#include "ops/matmul.h"
#include "ops/ops_support.h"
#include "ops/reference/head.h"

namespace rlcpp::test {
namespace {

using Head = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Head, every_device(), device_name);

struct Case {
  std::int64_t rows, hidden_size, vocabulary;
  Floats hidden, w;
  Ints targets;
  Floats temperatures, coefficients;

  ops::reference::HeadCase reference() const {
    return {rows, hidden_size, vocabulary, to_double(hidden), to_double(w), targets, to_double(temperatures)};
  }
};

Case make_case(Random& random, std::int64_t rows, std::int64_t hidden_size, std::int64_t vocabulary,
               bool masked) {
  Case c = {rows,
            hidden_size,
            vocabulary,
            random.normal(rows * hidden_size),
            random.normal(vocabulary * hidden_size, 0.3F),
            random.below(rows, vocabulary),
            {},
            random.normal(rows)};
  for (std::int64_t r = 0; r < rows; ++r) {
    c.temperatures.push_back(r % 3 == 0 ? 1.0F : 0.5F + random.uniform());
    if (masked && random.uniform() < 0.4F) c.targets[r] = -1;
    if (masked && random.uniform() < 0.2F) c.coefficients[r] = 0;
  }
  return c;
}

std::vector<Case> cases(Random& random) {
  std::vector<Case> list;
  list.push_back(make_case(random, 1, 1, 1, false));
  list.push_back(make_case(random, 5, 16, 33, false));
  list.push_back(make_case(random, 40, 24, 301, true));
  list.push_back(make_case(random, 33, 128, 1000, true));
  list.push_back(
      make_case(random, random.between(1, 70), random.between(1, 60), random.between(2, 400), true));
  return list;
}

struct Output {
  Floats logprobs, entropies, dhidden, dw;
};

// Both visits apart, or in one.
Output run(const ops::Context& ctx, Case& c, std::int64_t chunk, bool fused, bool use_packed = true,
           bool kept = false) {
  Output o = {poisoned(c.rows), poisoned(c.rows), poisoned(c.rows * c.hidden_size),
              Floats(c.w.size(), 0.125F)};
  Floats packed_values = poisoned(ops::packed_weight_size(ctx, c.vocabulary, c.hidden_size));
  Floats logit_values = poisoned(chunk * c.vocabulary);
  {
    const Mirror hidden = on(ctx, c.hidden, {c.rows, c.hidden_size});
    const Mirror w = on(ctx, c.w, {c.vocabulary, c.hidden_size});
    const Mirror packed = on(ctx, packed_values, {static_cast<std::int64_t>(packed_values.size())});
    const Mirror targets = i32(ctx, c.targets, {c.rows});
    const Mirror temperatures = f32(ctx, c.temperatures, {c.rows});
    const Mirror logits = f32(ctx, logit_values, {chunk, c.vocabulary});
    const Mirror logprobs = f32(ctx, o.logprobs, {c.rows});
    const Mirror entropies = f32(ctx, o.entropies, {c.rows});
    const Mirror dhidden = on(ctx, o.dhidden, {c.rows, c.hidden_size});
    const Mirror dw = f32(ctx, o.dw, {c.vocabulary, c.hidden_size});
    const Mirror coefficients = f32(ctx, c.coefficients, {c.rows});
    ops::pack_weight(ctx, packed, w);
    const bool has_packed = use_packed && !packed_values.empty();
    const ops::HeadInputs in = {hidden, w,   has_packed ? packed.tensor() : Tensor(), targets, temperatures,
                                logits, kept};
    if (fused) {
      ops::head_fused(ctx, logprobs, entropies, dhidden, dw, coefficients, in);
    } else {
      ops::head_logprobs(ctx, logprobs, entropies, in);
      ops::head_backward(ctx, dhidden, dw, coefficients, in);
    }
  }
  return o;
}

// The CPU's bounds are for the forward and the backward; a long vocabulary has its own.
struct Bounds {
  double logprobs = 1e-6, entropies = 2e-6, dhidden = 4e-6, dw = 4e-6;
};

void expect_reference(const ops::Context& ctx, const Case& c, const Output& o, const Bounds& bounds = {}) {
  const auto expected = ops::reference::head_forward(c.reference());
  expect_close(o.logprobs, expected.logprobs, tolerance_f32(ctx, bounds.logprobs), "logprobs");
  expect_close(o.entropies, expected.entropies, tolerance_f32(ctx, bounds.entropies), "entropies");
  auto gradient = ops::reference::head_backward(c.reference(), to_double(c.coefficients));
  for (double& value : gradient.dw) value += 0.125;
  // On CUDA dz is rounded to bf16 before both products: each term of their sums is off by up to 2^-8 of
  // itself, in a random direction, so a sum is off by about 2^-8 of its largest term; twice that for sums
  // whose terms cancel.
  expect_close(o.dhidden, gradient.dhidden, tolerance(ctx, bounds.dhidden, 0x1p-7), "dhidden");
  expect_close(o.dw, gradient.dw, tolerance_f32(ctx, bounds.dw, 0x1p-7), "dw");
}

TEST_P(Head, AgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (Case& c : cases(random)) {
    for (const bool fused : {false, true}) {
      expect_reference(ctx, c, run(ctx, c, 16, fused));
      if (HasFatalFailure()) return;
    }
  }
}

// Chunks that do not divide the rows, and one larger than all of them.
TEST_P(Head, AgreesWithTheReferenceInAnyChunks) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const std::int64_t vocabulary : {201, 512, 9001}) {
    Case c = make_case(random, 61, 40, vocabulary, true);
    for (const std::int64_t chunk : {1, 7, 32, 70}) {
      expect_reference(ctx, c, run(ctx, c, chunk, chunk != 7), {2e-6, 5e-6, 1e-5, 2e-6});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Head, LargeVocabulary) {
  const ops::Context ctx = context();
  if (!long_tier() && !ctx.on_gpu()) GTEST_SKIP() << "long tier";
  Random random(ctx);
  Case c = make_case(random, 40, 64, 151936, true);
  // One f32 chain over 151936 tokens: its error grows with the square root of the length, to a deviation of
  // 390 * 2^-24 * 0.6 = 1.4e-5 of what the sum is on its way; of 2560 sums the largest may be at five of
  // them.
  expect_reference(ctx, c, run(ctx, c, 16, true), {2e-6, 5e-6, 7e-5, 2e-6});
}

// Several tiles each way on a GPU, the last ones partly outside, rows in one and in several chunks.
TEST_P(Head, ManyTiles) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 600 + random.between(0, 100), 8 * random.between(5, 20),
                     8 * random.between(130, 180), true);
  for (const std::int64_t chunk : {std::int64_t{150}, c.rows}) {
    for (const bool fused : {false, true}) {
      expect_reference(ctx, c, run(ctx, c, chunk, fused), {2e-6, 5e-6, 1e-5, 5e-6});
      if (HasFatalFailure()) return;
    }
  }
}

// Logits whose exponentials no float holds, about any one of them: targets hundreds of nats below the best.
TEST_P(Head, LogitsFarApart) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 200, 64, 1200, true);
  for (float& value : c.hidden) value *= 4;
  for (float& value : c.w) value *= 8;
  const auto expected = ops::reference::head_forward(c.reference());
  EXPECT_LT(*std::ranges::min_element(expected.logprobs), -100);
  for (const bool fused : {false, true}) {
    const Output o = run(ctx, c, 100, fused);
    expect_close(o.logprobs, expected.logprobs, tolerance_f32(ctx, 2e-6), "logprobs");
    // p is exp of a difference of scores around 500, of which f32 keeps 3e-5 and tensor cores ten times that.
    expect_close(o.entropies, expected.entropies, ctx.on_gpu() ? Tolerance{4e-3, 0} : Tolerance{2e-4, 0},
                 "entropies");
    const auto gradient = ops::reference::head_backward(c.reference(), to_double(c.coefficients));
    expect_close(o.dhidden, gradient.dhidden, tolerance(ctx, 2e-4, 0x1p-7), "dhidden");
    if (HasFatalFailure()) return;
  }
}

// What visit one leaves for visit two, in memory for all rows and for some of them.
TEST_P(Head, KeepingChangesNoBit) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 300, 64, 2056, true);
  for (const std::int64_t chunk : {100, 200, 300}) {
    const Output apart = run(ctx, c, chunk, false), kept = run(ctx, c, chunk, false, true, true);
    expect_same_bits(kept.logprobs, apart.logprobs, "logprobs");
    expect_same_bits(kept.entropies, apart.entropies, "entropies");
    expect_same_bits(kept.dhidden, apart.dhidden, "dhidden");
    expect_same_bits(kept.dw, apart.dw, "dw");
    expect_reference(ctx, c, kept, {2e-6, 5e-6, 1e-5, 5e-6});
    if (HasFatalFailure()) return;
  }
}

// The head has no order that time decides.
TEST_P(Head, TheSameBitsTwice) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 777, 128, 2056, true);
  const Output first = run(ctx, c, 400, true), second = run(ctx, c, 400, true);
  expect_same_bits(second.logprobs, first.logprobs, "logprobs");
  expect_same_bits(second.entropies, first.entropies, "entropies");
  expect_same_bits(second.dhidden, first.dhidden, "dhidden");
  expect_same_bits(second.dw, first.dw, "dw");
}

TEST(HeadReference, BackwardAgreesWithFiniteDifferences) {
  Random random;
  const Case c = make_case(random, 4, 5, 7, true);
  const auto base = c.reference();
  const Doubles coefficients = to_double(c.coefficients);
  const auto g = ops::reference::head_backward(base, coefficients);
  const auto loss = [&](const ops::reference::HeadCase& changed) {
    return weighted_sum(ops::reference::head_forward(changed).logprobs, coefficients);
  };
  expect_gradient(
      [&](const Doubles& v) {
        auto changed = base;
        changed.hidden = v;
        return loss(changed);
      },
      base.hidden, g.dhidden, random, "hidden");
  expect_gradient(
      [&](const Doubles& v) {
        auto changed = base;
        changed.w = v;
        return loss(changed);
      },
      base.w, g.dw, random, "w");
}

TEST(HeadExact, ChunksFusionAndPackingChangeNoBit) {
  Random random;
  const ops::Context ctx = cpu_context();
  Case c = make_case(random, random.between(60, 130), 40, 201, true);
  const Output whole = run(ctx, c, c.rows, false);
  for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{7}, std::int64_t{32}, c.rows + 10}) {
    for (const bool fused : {false, true}) {
      const Output o = run(ctx, c, chunk, fused, chunk != 7);
      const std::string what = "chunks of " + std::to_string(chunk) + (fused ? ", fused" : "");
      expect_same_bits(o.logprobs, whole.logprobs, what + ": logprobs");
      expect_same_bits(o.entropies, whole.entropies, what + ": entropies");
      expect_same_bits(o.dhidden, whole.dhidden, what + ": dhidden");
      expect_same_bits(o.dw, whole.dw, what + ": dw");
      if (HasFatalFailure()) return;
    }
  }
}

// With one size of chunk the fused form has the bits of both visits on every device.
TEST_P(Head, FusionChangesNoBit) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 50, 40, 203, true);
  const Output apart = run(ctx, c, 16, false), fused = run(ctx, c, 16, true);
  expect_same_bits(fused.logprobs, apart.logprobs, "logprobs");
  expect_same_bits(fused.entropies, apart.entropies, "entropies");
  expect_same_bits(fused.dhidden, apart.dhidden, "dhidden");
  expect_same_bits(fused.dw, apart.dw, "dw");
}

// The engine's road (logits and statistics of the rows it samples) and the trainer's give the same
// log-probability: on the CPU bit for bit, on CUDA within the sums of two sizes of batch.
TEST_P(Head, TheEnginesLogprobIsTheTrainers) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 37, 48, 260, false);
  const Output trainer = run(ctx, c, 16, true);
  for (const std::int64_t begin : {0, 5, 36}) {
    const std::int64_t rows = begin == 5 ? 20 : 1;
    Floats hidden(c.hidden.begin() + begin * 48, c.hidden.begin() + (begin + rows) * 48);
    Floats temperatures(c.temperatures.begin() + begin, c.temperatures.begin() + begin + rows);
    Floats logits = poisoned(rows * 260);
    Floats lse = poisoned(rows);
    Floats entropy = poisoned(rows);
    ops::head_logits(ctx, f32(ctx, logits, {rows, 260}), on(ctx, hidden, {rows, 48}), on(ctx, c.w, {260, 48}),
                     Tensor(), f32(ctx, temperatures, {rows}));
    ops::head_statistics(ctx, f32(ctx, lse, {rows}), f32(ctx, entropy, {rows}),
                         f32(ctx, logits, {rows, 260}));
    const auto same = [&](float value, float expected, const char* what) {
      if (ctx.on_gpu()) return expect_close({value}, {static_cast<double>(expected)}, 2e-5, what);
      expect_same_bits(std::span(&value, 1), std::span(&expected, 1), what);
    };
    for (std::int64_t r = 0; r < rows; ++r) {
      same(logits[r * 260 + c.targets[begin + r]] - lse[r], trainer.logprobs[begin + r], "logprob");
      same(entropy[r], trainer.entropies[begin + r], "entropy");
    }
    if (HasFatalFailure()) return;
  }
}

TEST_P(Head, ExtremeLogits) {
  const ops::Context ctx = context();
  Floats logits = {1000.0F, 0.0F, -1000.0F, -INFINITY, 5.0F, 5.0F, 5.0F, 5.0F};
  Floats lse = poisoned(2);
  Floats entropy = poisoned(2);
  ops::head_statistics(ctx, f32(ctx, lse, {2}), f32(ctx, entropy, {2}), f32(ctx, logits, {2, 4}));
  EXPECT_EQ(lse[0], 1000.0F);
  EXPECT_EQ(entropy[0], 0.0F);
  EXPECT_NEAR(lse[1], 5 + std::log(4.0), 1e-6);
  EXPECT_NEAR(entropy[1], std::log(4.0), 1e-6);
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Head, SameBits) {
  const ops::Context device = context();
  Random random(device);
  for (const std::int64_t vocabulary : {5, 1031}) {
    Case c = make_case(random, 70, 50, vocabulary, true);
    same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          const Output o = run(ctx, c, 32, true);
          Floats all = o.logprobs;
          append(all, o.entropies);
          append(all, o.dhidden);
          append(all, o.dw);
          return all;
        },
        "head");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Head, FrozenHeadAndNoTargetAtAll) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 9, 12, 30, false);
  const Output with = run(ctx, c, 4, true);
  Floats logits = poisoned(4 * 30);
  Floats dhidden = poisoned(9 * 12);
  Floats logprobs = poisoned(9);
  const auto frozen = [&] {
    const Mirror hidden = on(ctx, c.hidden, {9, 12}), w = on(ctx, c.w, {30, 12});
    const Mirror targets = i32(ctx, c.targets, {9}), temperatures = f32(ctx, c.temperatures, {9});
    const Mirror chunk = f32(ctx, logits, {4, 30});
    ops::head_fused(ctx, f32(ctx, logprobs, {9}), Tensor(), on(ctx, dhidden, {9, 12}), Tensor(),
                    f32(ctx, c.coefficients, {9}), {hidden, w, Tensor(), targets, temperatures, chunk});
  };
  frozen();
  expect_same_bits(dhidden, with.dhidden, "frozen head");
  expect_same_bits(logprobs, with.logprobs, "frozen head");
  c.targets.assign(9, -1);
  frozen();
  // Zeros of either sign.
  expect_close(dhidden, Doubles(9 * 12), 0, "no targets");
  expect_same_bits(logprobs, Floats(9, 0.0F), "no targets");
}

TEST_P(Head, ScaledRowsAreRoundedOnceAndAFactorOfZeroMakesZeros) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const std::int64_t width : {1, 7, 300, 1030}) {
    const std::int64_t rows = random.between(1, 60);
    Floats values = random.normal(rows * width), factors = random.normal(rows);
    for (std::int64_t r = 0; r < rows; r += 3) factors[r] = 0;
    values[0] = NAN;  // of a row whose factor is 0
    Floats wanted = values;
    for (std::int64_t i = 0; i < rows * width; ++i) {
      const double product = factors[i / width] == 0 ? 0 : double{values[i]} * factors[i / width];
      wanted[i] = static_cast<float>(product);
    }
    wanted = rounded(ctx, wanted);
    ops::scale_rows(ctx, on(ctx, values, {rows, width}), f32(ctx, factors, {rows}));
    expect_same_bits(values, wanted, "width " + std::to_string(width));
    if (HasFatalFailure()) return;
  }
}

// A frozen head: coefficients of 1 in one visit, the true ones afterwards, against float64 and both visits.
TEST_P(Head, OneVisitOfAFrozenHeadIsScaledAfterwards) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (Case& c : cases(random)) {
    const Output both = run(ctx, c, 16, false);
    Floats logits = poisoned(16 * c.vocabulary), dhidden = poisoned(c.rows * c.hidden_size);
    Floats logprobs = poisoned(c.rows), entropies = poisoned(c.rows), ones(c.rows, 1.0F);
    {
      const Mirror hidden = on(ctx, c.hidden, {c.rows, c.hidden_size});
      const Mirror w = on(ctx, c.w, {c.vocabulary, c.hidden_size});
      const Mirror targets = i32(ctx, c.targets, {c.rows}), temperatures = f32(ctx, c.temperatures, {c.rows});
      const Mirror chunk = f32(ctx, logits, {16, c.vocabulary});
      const Mirror rows = on(ctx, dhidden, {c.rows, c.hidden_size});
      ops::head_fused(ctx, f32(ctx, logprobs, {c.rows}), f32(ctx, entropies, {c.rows}), rows, Tensor(),
                      f32(ctx, ones, {c.rows}), {hidden, w, Tensor(), targets, temperatures, chunk});
      ops::scale_rows(ctx, rows, f32(ctx, c.coefficients, {c.rows}));
    }
    expect_same_bits(logprobs, both.logprobs, "logprobs");
    expect_same_bits(entropies, both.entropies, "entropies");
    // The bound of both visits, and one rounding more of each element.
    Tolerance bound = tolerance(ctx, 2e-6, 0x1p-7);
    bound.relative += bound.relative + 0x1p-24;
    const auto gradient = ops::reference::head_backward(c.reference(), to_double(c.coefficients));
    expect_close(dhidden, gradient.dhidden, bound, "dhidden against float64");
    Tolerance twice = bound;
    twice.scale *= 2;
    twice.relative *= 2;
    expect_close(dhidden, to_double(both.dhidden), twice, "dhidden against both visits");
    for (std::int64_t r = 0; r < c.rows; ++r) {
      if (c.targets[r] >= 0 && c.coefficients[r] != 0) continue;
      for (std::int64_t i = 0; i < c.hidden_size; ++i) ASSERT_EQ(dhidden[r * c.hidden_size + i], 0) << r;
    }
    if (HasFatalFailure()) return;
  }
}

TEST_P(Head, NoRows) {
  const ops::Context ctx = context();
  Random random(ctx);
  Case c = make_case(random, 1, 12, 30, false);
  c.rows = 0;
  Output o = {Floats(1), Floats(1), Floats(1), Floats(c.w.size(), 0.125F)};
  Floats logit_values = poisoned(4 * 30);
  {
    const Mirror hidden = on(ctx, c.hidden, {0, 12}), w = on(ctx, c.w, {30, 12});
    const Mirror targets = i32(ctx, c.targets, {0}), temperatures = f32(ctx, c.temperatures, {0});
    const Mirror logits = f32(ctx, logit_values, {4, 30});
    ops::head_fused(ctx, f32(ctx, o.logprobs, {0}), f32(ctx, o.entropies, {0}), on(ctx, o.dhidden, {0, 12}),
                    f32(ctx, o.dw, {30, 12}), f32(ctx, c.coefficients, {0}),
                    {hidden, w, Tensor(), targets, temperatures, logits});
  }
  expect_same_bits(o.dw, Floats(c.w.size(), 0.125F), "dw");
}

TEST(HeadChecks, TargetsOutsideTheVocabularyAreRefused) {
  Random random;
  Case c = make_case(random, 9, 12, 30, false);
  c.targets[3] = 30;
  EXPECT_THROW(run(cpu_context(), c, 4, false), Error);
}

}  // namespace
}  // namespace rlcpp::test
