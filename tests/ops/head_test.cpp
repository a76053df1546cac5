#include "ops/head.h"

#include "ops/matmul.h"
#include "ops/ops_support.h"
#include "ops/reference/head.h"

namespace rlcpp::test {
namespace {

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
  list.push_back(
      make_case(random, random.between(1, 70), random.between(1, 60), random.between(2, 400), true));
  return list;
}

struct Output {
  Floats logprobs, entropies, dhidden, dw;
};

// Both visits apart, or in one.
Output run(const ops::Context& ctx, Case& c, std::int64_t chunk, bool fused, bool use_packed = true) {
  Output o = {poisoned(c.rows), poisoned(c.rows), poisoned(c.rows * c.hidden_size),
              Floats(c.w.size(), 0.125F)};
  Floats packed = poisoned(ops::packed_weight_size(ctx, c.vocabulary, c.hidden_size));
  ops::pack_weight(ctx, view(packed, {static_cast<std::int64_t>(packed.size())}),
                   view(c.w, {c.vocabulary, c.hidden_size}));
  Floats logits = poisoned(chunk * c.vocabulary);
  ops::HeadInputs in;
  in.hidden = view(c.hidden, {c.rows, c.hidden_size});
  in.w = view(c.w, {c.vocabulary, c.hidden_size});
  in.packed = use_packed ? view(packed, {static_cast<std::int64_t>(packed.size())}) : Tensor();
  in.targets = view(c.targets, {c.rows});
  in.temperatures = view(c.temperatures, {c.rows});
  in.logits = view(logits, {chunk, c.vocabulary});
  const Tensor logprobs = view(o.logprobs, {c.rows});
  const Tensor entropies = view(o.entropies, {c.rows});
  const Tensor dhidden = view(o.dhidden, {c.rows, c.hidden_size});
  const Tensor dw = view(o.dw, {c.vocabulary, c.hidden_size});
  const Tensor coefficients = view(c.coefficients, {c.rows});
  if (fused) {
    ops::head_fused(ctx, logprobs, entropies, dhidden, dw, coefficients, in);
  } else {
    ops::head_logprobs(ctx, logprobs, entropies, in);
    ops::head_backward(ctx, dhidden, dw, coefficients, in);
  }
  return o;
}

TEST(Head, AgreesWithTheReference) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (Case& c : cases(random)) {
    const Output o = run(ctx, c, 16, false);
    const auto expected = ops::reference::head_forward(c.reference());
    expect_close(o.logprobs, expected.logprobs, 1e-6, "logprobs");
    expect_close(o.entropies, expected.entropies, 2e-6, "entropies");
    auto gradient = ops::reference::head_backward(c.reference(), to_double(c.coefficients));
    for (double& value : gradient.dw) value += 0.125;
    expect_close(o.dhidden, gradient.dhidden, 2e-6, "dhidden");
    expect_close(o.dw, gradient.dw, 2e-6, "dw");
    if (HasFatalFailure()) return;
  }
}

TEST(Head, LargeVocabulary) {
  if (!long_tier()) GTEST_SKIP() << "long tier";
  Random random;
  Case c = make_case(random, 40, 64, 151936, true);
  const Output o = run(cpu_context(), c, 16, true);
  const auto expected = ops::reference::head_forward(c.reference());
  expect_close(o.logprobs, expected.logprobs, 2e-6, "logprobs");
  expect_close(o.entropies, expected.entropies, 5e-6, "entropies");
  auto gradient = ops::reference::head_backward(c.reference(), to_double(c.coefficients));
  for (double& value : gradient.dw) value += 0.125;
  // One f32 chain over 151936 tokens: its error grows with the square root of the length.
  expect_close(o.dhidden, gradient.dhidden, 3e-5, "dhidden");
  expect_close(o.dw, gradient.dw, 2e-6, "dw");
}

TEST(Head, ReferenceBackwardAgreesWithFiniteDifferences) {
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

TEST(Head, ChunksFusionAndPackingChangeNoBit) {
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

// The engine's road (logits and statistics of the rows it samples) and the trainer's give the same
// log-probability.
TEST(Head, TheEnginesLogprobIsTheTrainers) {
  Random random;
  const ops::Context ctx = cpu_context();
  Case c = make_case(random, 37, 48, 260, false);
  const Output trainer = run(ctx, c, 16, true);
  for (const std::int64_t begin : {0, 5, 36}) {
    const std::int64_t rows = begin == 5 ? 20 : 1;
    Floats hidden(c.hidden.begin() + begin * 48, c.hidden.begin() + (begin + rows) * 48);
    Floats temperatures(c.temperatures.begin() + begin, c.temperatures.begin() + begin + rows);
    Floats logits = poisoned(rows * 260);
    Floats lse = poisoned(rows);
    Floats entropy = poisoned(rows);
    ops::head_logits(ctx, view(logits, {rows, 260}), view(hidden, {rows, 48}), view(c.w, {260, 48}), Tensor(),
                     view(temperatures, {rows}));
    ops::head_statistics(ctx, view(lse, {rows}), view(entropy, {rows}), view(logits, {rows, 260}));
    for (std::int64_t r = 0; r < rows; ++r) {
      const float logprob = logits[r * 260 + c.targets[begin + r]] - lse[r];
      expect_same_bits(std::span(&logprob, 1), std::span(&trainer.logprobs[begin + r], 1), "logprob");
      expect_same_bits(std::span(&entropy[r], 1), std::span(&trainer.entropies[begin + r], 1), "entropy");
    }
  }
}

TEST(Head, ExtremeLogits) {
  const ops::Context ctx = cpu_context();
  Floats logits = {1000.0F, 0.0F, -1000.0F, -INFINITY, 5.0F, 5.0F, 5.0F, 5.0F};
  Floats lse = poisoned(2);
  Floats entropy = poisoned(2);
  ops::head_statistics(ctx, view(lse, {2}), view(entropy, {2}), view(logits, {2, 4}));
  EXPECT_EQ(lse[0], 1000.0F);
  EXPECT_EQ(entropy[0], 0.0F);
  EXPECT_NEAR(lse[1], 5 + std::log(4.0), 1e-6);
  EXPECT_NEAR(entropy[1], std::log(4.0), 1e-6);
}

TEST(Head, SameBitsWithAllSetsAndThreads) {
  Random random;
  for (const std::int64_t vocabulary : {5, 1031}) {
    Case c = make_case(random, 70, 50, vocabulary, true);
    same_bits_everywhere(
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

TEST(Head, FrozenHeadAndNoTargetAtAll) {
  Random random;
  const ops::Context ctx = cpu_context();
  Case c = make_case(random, 9, 12, 30, false);
  const Output with = run(ctx, c, 4, true);
  Floats logits = poisoned(4 * 30);
  Floats dhidden = poisoned(9 * 12);
  Floats logprobs = poisoned(9);
  ops::HeadInputs in = {view(c.hidden, {9, 12}), view(c.w, {30, 12}),       Tensor(),
                        view(c.targets, {9}),    view(c.temperatures, {9}), view(logits, {4, 30})};
  ops::head_fused(ctx, view(logprobs, {9}), Tensor(), view(dhidden, {9, 12}), Tensor(),
                  view(c.coefficients, {9}), in);
  expect_same_bits(dhidden, with.dhidden, "frozen head");
  c.targets.assign(9, -1);
  ops::head_fused(ctx, view(logprobs, {9}), Tensor(), view(dhidden, {9, 12}), Tensor(),
                  view(c.coefficients, {9}), in);
  expect_same_bits(dhidden, Floats(9 * 12, 0.0F), "no targets");
  expect_same_bits(logprobs, Floats(9, 0.0F), "no targets");
  c.targets[3] = 30;
  EXPECT_THROW(ops::head_logprobs(ctx, view(logprobs, {9}), Tensor(), in), Error);
}

}  // namespace
}  // namespace rlcpp::test
