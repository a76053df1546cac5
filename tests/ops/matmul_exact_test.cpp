// Linear layers in exact mode, which only the CPU has: the promised chain of fused multiply-adds to the last
// bit, whatever the batch, the packing and the micro-batches.
#include "ops/matmul_cases.h"
#include "ops/reference/matmul.h"

namespace rlcpp::test {
namespace {

TEST(MatmulExact, ForwardIsTheChainOfFusedMultiplyAdds) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const LinearShape& s : linear_shapes(random)) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats bias = random.normal(s.n);
    const Floats old = random.normal(s.m * s.n);
    Floats packed = packed_of(ctx, w, s);
    Floats plain(x.size() * 0 + static_cast<std::size_t>(s.m * s.n));
    Floats biased = plain;
    Floats added = plain;
    for (std::int64_t i = 0; i < s.m; ++i) {
      for (std::int64_t j = 0; j < s.n; ++j) {
        float chain = 0;
        for (std::int64_t l = 0; l < s.k; ++l) chain = std::fmaf(x[i * s.k + l], w[j * s.k + l], chain);
        plain[i * s.n + j] = chain;
        biased[i * s.n + j] = chain + bias[j];
        added[i * s.n + j] = chain + bias[j] + old[i * s.n + j];
      }
    }
    for (Floats* form : {&packed, static_cast<Floats*>(nullptr)}) {
      const std::string what = text(s) + (form != nullptr ? " packed" : " not packed");
      expect_same_bits(linear(ctx, s, x, w, form, nullptr), plain, what);
      expect_same_bits(linear(ctx, s, x, w, form, &bias), biased, what + ", bias");
      expect_same_bits(linear(ctx, s, x, w, form, &bias, &old), added, what + ", accumulate");
    }
    expect_close(biased,
                 ops::reference::linear_forward(to_double(x), to_double(w), to_double(bias), s.m, s.n, s.k),
                 4e-6, text(s));
    if (HasFatalFailure()) return;
  }
}

TEST(MatmulExact, BackwardIsTheChainFromTheOldValue) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const LinearShape& s : linear_shapes(random)) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats dy = random.normal(s.m * s.n);
    for (const bool accumulate : {false, true}) {
      Floats dx = accumulate ? random.normal(s.m * s.k) : poisoned(s.m * s.k);
      Floats dw = accumulate ? random.normal(s.n * s.k) : poisoned(s.n * s.k);
      Floats chain_x = accumulate ? dx : Floats(dx.size(), 0.0F);
      Floats chain_w = accumulate ? dw : Floats(dw.size(), 0.0F);
      for (std::int64_t i = 0; i < s.m; ++i) {
        for (std::int64_t j = 0; j < s.n; ++j) {
          for (std::int64_t l = 0; l < s.k; ++l) {
            chain_x[i * s.k + l] = std::fmaf(dy[i * s.n + j], w[j * s.k + l], chain_x[i * s.k + l]);
            chain_w[j * s.k + l] = std::fmaf(dy[i * s.n + j], x[i * s.k + l], chain_w[j * s.k + l]);
          }
        }
      }
      linear_input(ctx, s, dx, dy, w, accumulate);
      linear_weight(ctx, s, dw, dy, x, accumulate);
      expect_same_bits(dx, chain_x, text(s) + " input");
      expect_same_bits(dw, chain_w, text(s) + " weight");
      if (!accumulate) {
        expect_close(dx, ops::reference::linear_backward_input(to_double(dy), to_double(w), s.m, s.n, s.k),
                     4e-6, "dx");
        expect_close(dw, ops::reference::linear_backward_weight(to_double(dy), to_double(x), s.m, s.n, s.k),
                     4e-6, "dw");
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST(MatmulExact, BiasGradientAddsRowsInOrder) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const LinearShape& s : {LinearShape{1, 1, 0}, LinearShape{37, 19, 0}, LinearShape{501, 1030, 0}}) {
    Floats dy = random.normal(s.m * s.n);
    for (const bool accumulate : {false, true}) {
      Floats db = accumulate ? random.normal(s.n) : poisoned(s.n);
      Floats expected = accumulate ? db : Floats(db.size(), 0.0F);
      for (std::int64_t i = 0; i < s.m * s.n; ++i) expected[i % s.n] += dy[i];
      linear_bias(ctx, s, db, dy, accumulate);
      expect_same_bits(db, expected, text(s));
    }
  }
}

TEST(MatmulExact, ARowDoesNotDependOnTheBatch) {
  Random random;
  const ops::Context ctx = cpu_context();
  const LinearShape s = {random.between(100, 260), random.between(20, 200), random.between(500, 1200)};
  Floats x = random.normal(s.m * s.k);
  Floats w = random.normal(s.n * s.k);
  Floats packed = packed_of(ctx, w, s);
  const Floats all = linear(ctx, s, x, w, &packed, nullptr);
  for (const std::int64_t rows : {1, 2, 13, 64}) {
    const std::int64_t begin = random.between(0, s.m - rows);
    Floats some(x.begin() + begin * s.k, x.begin() + (begin + rows) * s.k);
    const Floats y = linear(ctx, {rows, s.n, s.k}, some, w, rows == 2 ? nullptr : &packed, nullptr);
    expect_same_bits(y, Floats(all.begin() + begin * s.n, all.begin() + (begin + rows) * s.n), "rows alone");
  }
}

TEST(MatmulExact, WeightGradientOfMicroBatchesIsThatOfOneBatch) {
  Random random;
  const ops::Context ctx = cpu_context();
  const LinearShape s = {777, 45, 70};
  Floats x = random.normal(s.m * s.k);
  Floats dy = random.normal(s.m * s.n);
  Floats whole = poisoned(s.n * s.k);
  linear_weight(ctx, s, whole, dy, x, false);
  Floats parts = poisoned(s.n * s.k);
  const std::int64_t cut = random.between(1, s.m - 1);
  ops::linear_backward_weight(ctx, view(parts, {s.n, s.k}), view(dy, {s.m, s.n}).rows(0, cut),
                              view(x, {s.m, s.k}).rows(0, cut), false);
  ops::linear_backward_weight(ctx, view(parts, {s.n, s.k}), view(dy, {s.m, s.n}).rows(cut, s.m - cut),
                              view(x, {s.m, s.k}).rows(cut, s.m - cut), true);
  expect_same_bits(parts, whole, "two micro-batches");
}

// Operands too large for one packed piece of B: the chain rests in memory between pieces.
TEST(MatmulExact, LargeReductionsKeepTheChain) {
  Random random;
  const ops::Context ctx = cpu_context();
  const LinearShape s = {40, 9000, 300};  // backward input reduces over n
  Floats dy = random.normal(s.m * s.n);
  Floats w = random.normal(s.n * s.k);
  Floats dx = poisoned(s.m * s.k);
  linear_input(ctx, s, dx, dy, w, false);
  Floats chain(dx.size(), 0.0F);
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      for (std::int64_t l = 0; l < s.k; ++l) {
        chain[i * s.k + l] = std::fmaf(dy[i * s.n + j], w[j * s.k + l], chain[i * s.k + l]);
      }
    }
  }
  expect_same_bits(dx, chain, text(s));
}

}  // namespace
}  // namespace rlcpp::test
