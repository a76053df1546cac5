// Linear layers: the float64 reference, the promised chain of fused multiply-adds to the last bit, and
// independence of batch, packing, threads and instruction set.
#include "ops/matmul.h"

#include "ops/ops_support.h"
#include "ops/reference/matmul.h"

namespace rlcpp::test {
namespace {

struct Shape {
  std::int64_t m, n, k;
};
std::string text(const Shape& s) {
  return std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k);
}

// Odd sizes, primes, edges of the register block (14 and 32), of the tile (112) and of the step over k (512).
std::vector<Shape> shapes(Random& random) {
  std::vector<Shape> list = {{1, 1, 1},       {1, 32, 16},   {3, 5, 7},     {14, 32, 64},   {15, 33, 65},
                             {16, 48, 512},   {17, 31, 513}, {113, 96, 41}, {29, 257, 129}, {225, 70, 1030},
                             {2, 1031, 1100}, {1, 300, 700}, {3, 129, 530}, {4, 256, 20},   {64, 16, 4}};
  for (int i = 0; i < 4; ++i)
    list.push_back({random.between(1, 150), random.between(1, 150), random.between(1, 700)});
  return list;
}

Floats packed_of(const ops::Context& ctx, Floats& w, const Shape& s) {
  Floats packed = poisoned(ops::packed_weight_size(ctx, s.n, s.k));
  ops::pack_weight(ctx, view(packed, {static_cast<std::int64_t>(packed.size())}), view(w, {s.n, s.k}));
  return packed;
}

Floats forward(const ops::Context& ctx, const Shape& s, Floats& x, Floats& w, Floats* packed, Floats* bias,
               const Floats* old = nullptr) {
  Floats y = old != nullptr ? *old : poisoned(s.m * s.n);
  ops::linear_forward(
      ctx, view(y, {s.m, s.n}), view(x, {s.m, s.k}), view(w, {s.n, s.k}),
      packed != nullptr ? view(*packed, {static_cast<std::int64_t>(packed->size())}) : Tensor(),
      bias != nullptr ? view(*bias, {s.n}) : Tensor(), old != nullptr);
  return y;
}

TEST(Matmul, ForwardIsTheChainOfFusedMultiplyAdds) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const Shape& s : shapes(random)) {
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
      expect_same_bits(forward(ctx, s, x, w, form, nullptr), plain, what);
      expect_same_bits(forward(ctx, s, x, w, form, &bias), biased, what + ", bias");
      expect_same_bits(forward(ctx, s, x, w, form, &bias, &old), added, what + ", accumulate");
    }
    expect_close(biased,
                 ops::reference::linear_forward(to_double(x), to_double(w), to_double(bias), s.m, s.n, s.k),
                 4e-6, text(s));
    if (HasFatalFailure()) return;
  }
}

TEST(Matmul, BackwardIsTheChainFromTheOldValue) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const Shape& s : shapes(random)) {
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
      ops::linear_backward_input(ctx, view(dx, {s.m, s.k}), view(dy, {s.m, s.n}), view(w, {s.n, s.k}),
                                 accumulate);
      ops::linear_backward_weight(ctx, view(dw, {s.n, s.k}), view(dy, {s.m, s.n}), view(x, {s.m, s.k}),
                                  accumulate);
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

TEST(Matmul, ReferenceBackwardAgreesWithFiniteDifferences) {
  Random random;
  const Shape s = {5, 7, 6};
  const Doubles x = to_double(random.normal(s.m * s.k));
  const Doubles w = to_double(random.normal(s.n * s.k));
  const Doubles bias = to_double(random.normal(s.n));
  const Doubles dy = to_double(random.normal(s.m * s.n));
  const auto loss = [&](const Doubles& a, const Doubles& b, const Doubles& c) {
    return weighted_sum(ops::reference::linear_forward(a, b, c, s.m, s.n, s.k), dy);
  };
  expect_gradient([&](const Doubles& v) { return loss(v, w, bias); }, x,
                  ops::reference::linear_backward_input(dy, w, s.m, s.n, s.k), random, "x");
  expect_gradient([&](const Doubles& v) { return loss(x, v, bias); }, w,
                  ops::reference::linear_backward_weight(dy, x, s.m, s.n, s.k), random, "w");
  expect_gradient([&](const Doubles& v) { return loss(x, w, v); }, bias,
                  ops::reference::linear_backward_bias(dy, s.m, s.n), random, "bias");
}

TEST(Matmul, BiasGradientAddsRowsInOrder) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const Shape& s : {Shape{1, 1, 0}, Shape{37, 19, 0}, Shape{501, 1030, 0}}) {
    Floats dy = random.normal(s.m * s.n);
    for (const bool accumulate : {false, true}) {
      Floats db = accumulate ? random.normal(s.n) : poisoned(s.n);
      Floats expected = accumulate ? db : Floats(db.size(), 0.0F);
      for (std::int64_t i = 0; i < s.m * s.n; ++i) expected[i % s.n] += dy[i];
      ops::linear_backward_bias(ctx, view(db, {s.n}), view(dy, {s.m, s.n}), accumulate);
      expect_same_bits(db, expected, text(s));
    }
  }
}

TEST(Matmul, ARowDoesNotDependOnTheBatch) {
  Random random;
  const ops::Context ctx = cpu_context();
  const Shape s = {random.between(100, 260), random.between(20, 200), random.between(500, 1200)};
  Floats x = random.normal(s.m * s.k);
  Floats w = random.normal(s.n * s.k);
  Floats packed = packed_of(ctx, w, s);
  const Floats all = forward(ctx, s, x, w, &packed, nullptr);
  for (const std::int64_t rows : {1, 2, 13, 64}) {
    const std::int64_t begin = random.between(0, s.m - rows);
    Floats some(x.begin() + begin * s.k, x.begin() + (begin + rows) * s.k);
    const Floats y = forward(ctx, {rows, s.n, s.k}, some, w, rows == 2 ? nullptr : &packed, nullptr);
    expect_same_bits(y, Floats(all.begin() + begin * s.n, all.begin() + (begin + rows) * s.n), "rows alone");
  }
}

TEST(Matmul, WeightGradientOfMicroBatchesIsThatOfOneBatch) {
  Random random;
  const ops::Context ctx = cpu_context();
  const Shape s = {777, 45, 70};
  Floats x = random.normal(s.m * s.k);
  Floats dy = random.normal(s.m * s.n);
  Floats whole = poisoned(s.n * s.k);
  ops::linear_backward_weight(ctx, view(whole, {s.n, s.k}), view(dy, {s.m, s.n}), view(x, {s.m, s.k}), false);
  Floats parts = poisoned(s.n * s.k);
  const std::int64_t cut = random.between(1, s.m - 1);
  ops::linear_backward_weight(ctx, view(parts, {s.n, s.k}), view(dy, {s.m, s.n}).rows(0, cut),
                              view(x, {s.m, s.k}).rows(0, cut), false);
  ops::linear_backward_weight(ctx, view(parts, {s.n, s.k}), view(dy, {s.m, s.n}).rows(cut, s.m - cut),
                              view(x, {s.m, s.k}).rows(cut, s.m - cut), true);
  expect_same_bits(parts, whole, "two micro-batches");
}

TEST(Matmul, SameBitsWithAllSetsAndThreads) {
  Random random;
  for (const Shape& s : {Shape{150, 100, 530}, Shape{3, 300, 200}, Shape{1, 7, 5}}) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats bias = random.normal(s.n);
    Floats dy = random.normal(s.m * s.n);
    const Floats old = random.normal(s.m * s.n);
    same_bits_everywhere(
        [&](const ops::Context& ctx) {
          Floats packed = packed_of(ctx, w, s);
          Floats all = packed;
          append(all, forward(ctx, s, x, w, &packed, &bias, &old));
          append(all, forward(ctx, s, x, w, nullptr, nullptr));
          Floats dx = poisoned(s.m * s.k);
          Floats dw = poisoned(s.n * s.k);
          Floats db = poisoned(s.n);
          ops::linear_backward_input(ctx, view(dx, {s.m, s.k}), view(dy, {s.m, s.n}), view(w, {s.n, s.k}),
                                     false);
          ops::linear_backward_weight(ctx, view(dw, {s.n, s.k}), view(dy, {s.m, s.n}), view(x, {s.m, s.k}),
                                      false);
          ops::linear_backward_bias(ctx, view(db, {s.n}), view(dy, {s.m, s.n}), false);
          append(all, dx);
          append(all, dw);
          append(all, db);
          return all;
        },
        text(s));
    if (HasFatalFailure()) return;
  }
}

// Operands too large for one packed piece of B: the chain rests in memory between pieces.
TEST(Matmul, LargeReductionsKeepTheChain) {
  Random random;
  const ops::Context ctx = cpu_context();
  const Shape s = {40, 9000, 300};  // backward input reduces over n
  Floats dy = random.normal(s.m * s.n);
  Floats w = random.normal(s.n * s.k);
  Floats dx = poisoned(s.m * s.k);
  ops::linear_backward_input(ctx, view(dx, {s.m, s.k}), view(dy, {s.m, s.n}), view(w, {s.n, s.k}), false);
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

TEST(Matmul, ZeroRowsAndWrongShapes) {
  const ops::Context ctx = cpu_context();
  Floats x(8);
  Floats w(12);
  Floats y(8);
  ops::linear_forward(ctx, view(y, {0, 3}), view(x, {0, 4}), view(w, {3, 4}), Tensor(), Tensor());
  EXPECT_THROW(
      ops::linear_forward(ctx, view(y, {2, 4}), view(x, {2, 4}), view(w, {3, 4}), Tensor(), Tensor()), Error);
  EXPECT_THROW(
      ops::linear_forward(ctx, view(y, {2, 3}), view(x, {2, 4}), view(w, {4, 3}), Tensor(), Tensor()), Error);
  ops::Context gpu = ctx;
  gpu.device = {DeviceKind::kCuda, 0};
  EXPECT_THROW(
      ops::linear_forward(gpu, view(y, {2, 3}), view(x, {2, 4}), view(w, {3, 4}), Tensor(), Tensor()), Error);
}

}  // namespace
}  // namespace rlcpp::test
