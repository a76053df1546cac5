// Linear layers against the float64 reference. The bits that exact mode promises: matmul_exact_test.cpp.
#include "ops/reference/matmul.h"
#include "ops/matmul_cases.h"

namespace rlcpp::test {
namespace {

using Matmul = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Matmul, every_device(), device_name);

// Odd sizes (rows of bf16 that start at any multiple of two bytes) and sizes of models.
std::vector<LinearShape> all_shapes(Random& random) {
  std::vector<LinearShape> list = linear_shapes(random);
  list.push_back({256, 384, 1024});
  list.push_back({96, 512, 1536});
  list.push_back({1, 1024, 1024});
  for (const std::int64_t m : {2, 8, 11, 16}) list.push_back({m, 48 * m, 32 * (m + 5)});  // few rows
  return list;
}

Doubles sum_of(Doubles a, const Floats& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += static_cast<double>(b[i]);
  return a;
}

TEST_P(Matmul, ForwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const LinearShape& s : all_shapes(random)) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats bias = random.normal(s.n);
    const Floats old = random.normal(s.m * s.n);
    const auto plain = ops::reference::linear_forward(to_double(x), to_double(w), {}, s.m, s.n, s.k);
    const auto biased =
        ops::reference::linear_forward(to_double(x), to_double(w), to_double(bias), s.m, s.n, s.k);
    expect_close(linear(ctx, s, x, w, nullptr, nullptr), plain, tolerance(ctx, 4e-6), text(s));
    expect_close(linear(ctx, s, x, w, nullptr, &bias), biased, tolerance(ctx, 4e-6), text(s) + ", bias");
    expect_close(linear(ctx, s, x, w, nullptr, nullptr, &old), sum_of(plain, old),
                 tolerance(ctx, 4e-6, kHalfUlpBf16), text(s) + ", accumulate");
    // Where the output is bf16, a product is rounded before it is added to what is there.
    expect_close(linear(ctx, s, x, w, nullptr, &bias, &old), sum_of(biased, old),
                 tolerance(ctx, 4e-6, kHalfUlpBf16), text(s) + ", both");
    if (HasFatalFailure()) return;
  }
}

TEST_P(Matmul, BackwardAgreesWithTheReference) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const LinearShape& s : all_shapes(random)) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats dy = random.normal(s.m * s.n);
    const auto dx64 = ops::reference::linear_backward_input(to_double(dy), to_double(w), s.m, s.n, s.k);
    const auto dw64 = ops::reference::linear_backward_weight(to_double(dy), to_double(x), s.m, s.n, s.k);
    const auto db64 = ops::reference::linear_backward_bias(to_double(dy), s.m, s.n);
    for (const bool accumulate : {false, true}) {
      Floats dx = accumulate ? random.normal(s.m * s.k) : poisoned(s.m * s.k);
      Floats dw = accumulate ? random.normal(s.n * s.k) : poisoned(s.n * s.k);
      Floats db = accumulate ? random.normal(s.n) : poisoned(s.n);
      const Doubles dx_expected = accumulate ? sum_of(dx64, dx) : dx64;
      const Doubles dw_expected = accumulate ? sum_of(dw64, dw) : dw64;
      const Doubles db_expected = accumulate ? sum_of(db64, db) : db64;
      linear_input(ctx, s, dx, dy, w, accumulate);
      linear_weight(ctx, s, dw, dy, x, accumulate);
      linear_bias(ctx, s, db, dy, accumulate);
      expect_close(dx, dx_expected, tolerance(ctx, 4e-6, accumulate ? kHalfUlpBf16 : 0), text(s) + " dx");
      expect_close(dw, dw_expected, tolerance_f32(ctx, 4e-6), text(s) + " dw");
      expect_close(db, db_expected, tolerance_f32(ctx, 4e-6), text(s) + " db");
    }
    if (HasFatalFailure()) return;
  }
}

// Rows of a larger tensor, as the head's chunks and micro-batches are: they start anywhere.
TEST_P(Matmul, WeightGradientOfMicroBatchesIsThatOfOneBatch) {
  const ops::Context ctx = context();
  Random random(ctx);
  const LinearShape s = {301, 45, 71};
  Floats x = random.normal(s.m * s.k);
  Floats dy = random.normal(s.m * s.n);
  Floats dw = poisoned(s.n * s.k);
  const std::int64_t cut = random.between(1, s.m - 1);
  {
    const Mirror to = f32(ctx, dw, {s.n, s.k}), from = on(ctx, x, {s.m, s.k}), by = on(ctx, dy, {s.m, s.n});
    ops::linear_backward_weight(ctx, to, by.tensor().rows(0, cut), from.tensor().rows(0, cut), false);
    ops::linear_backward_weight(ctx, to, by.tensor().rows(cut, s.m - cut), from.tensor().rows(cut, s.m - cut),
                                true);
  }
  expect_close(dw, ops::reference::linear_backward_weight(to_double(dy), to_double(x), s.m, s.n, s.k),
               tolerance_f32(ctx, 4e-6), "two micro-batches");
}

TEST_P(Matmul, LongReductions) {
  const ops::Context ctx = context();
  Random random(ctx);
  const LinearShape s = {40, 9000, 304};  // the backward of the input sums over n
  Floats dy = random.normal(s.m * s.n);
  Floats w = random.normal(s.n * s.k);
  Floats dx = poisoned(s.m * s.k);
  linear_input(ctx, s, dx, dy, w, false);
  // One chain of 9000 roundings: the error of a sum grows with the square root of its length.
  expect_close(dx, ops::reference::linear_backward_input(to_double(dy), to_double(w), s.m, s.n, s.k),
               tolerance(ctx, 1.6e-5), text(s));
}

// Narrow gradients over many rows, as those of adapters are: on a GPU their sum is cut into parts, here with
// and without rows that are left over.
TEST_P(Matmul, NarrowWeightGradientsOverManyRows) {
  const ops::Context ctx = context();
  Random random(ctx);
  for (const LinearShape& s :
       {LinearShape{8192, 16, 200}, LinearShape{5003, 48, 96}, LinearShape{4096, 300, 16},
        LinearShape{2050, 7, 5}, LinearShape{1023, 16, 64}, LinearShape{1024, 16, 64}}) {
    Floats x = random.normal(s.m * s.k);
    Floats dy = random.normal(s.m * s.n);
    const auto expected = ops::reference::linear_backward_weight(to_double(dy), to_double(x), s.m, s.n, s.k);
    for (const bool accumulate : {false, true}) {
      Floats dw = accumulate ? random.normal(s.n * s.k) : poisoned(s.n * s.k);
      const Floats old = dw;
      linear_weight(ctx, s, dw, dy, x, accumulate);
      // One chain of up to 8192 roundings on the CPU.
      expect_close(dw, accumulate ? sum_of(expected, old) : expected, tolerance_f32(ctx, 1.6e-5), text(s));
      Floats again = old;
      linear_weight(ctx, s, again, dy, x, accumulate);
      expect_same_bits(again, dw, text(s));
    }
    if (HasFatalFailure()) return;
  }
}

TEST(MatmulReference, BackwardAgreesWithFiniteDifferences) {
  Random random;
  const LinearShape s = {5, 7, 6};
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

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Matmul, SameBits) {
  const ops::Context device = context();
  Random random(device);
  for (const LinearShape& s : {LinearShape{150, 100, 530}, LinearShape{3, 300, 200}, LinearShape{1, 7, 5}}) {
    Floats x = random.normal(s.m * s.k);
    Floats w = random.normal(s.n * s.k);
    Floats bias = random.normal(s.n);
    Floats dy = random.normal(s.m * s.n);
    const Floats old = random.normal(s.m * s.n);
    same_bits_again(
        device,
        [&](const ops::Context& ctx) {
          Floats packed = packed_of(ctx, w, s);
          Floats all = packed;
          append(all, linear(ctx, s, x, w, &packed, &bias, &old));
          append(all, linear(ctx, s, x, w, nullptr, nullptr));
          Floats dx = poisoned(s.m * s.k);
          Floats dw = poisoned(s.n * s.k);
          Floats db = poisoned(s.n);
          linear_input(ctx, s, dx, dy, w, false);
          linear_weight(ctx, s, dw, dy, x, false);
          linear_bias(ctx, s, db, dy, false);
          append(all, dx);
          append(all, dw);
          append(all, db);
          return all;
        },
        text(s));
    if (HasFatalFailure()) return;
  }
}

TEST_P(Matmul, NoRows) {
  const ops::Context ctx = context();
  Floats x(8), w(12), y(8), bias(3, 1.0F), dw(12, 0.5F), db(3, 0.5F);
  const LinearShape s = {0, 3, 4};
  ops::linear_forward(ctx, on(ctx, y, {0, 3}), on(ctx, x, {0, 4}), on(ctx, w, {3, 4}), Tensor(),
                      on(ctx, bias, {3}));
  linear_input(ctx, s, x, y, w, false);
  linear_weight(ctx, s, dw, y, x, true);
  linear_bias(ctx, s, db, y, true);
  expect_same_bits(dw, Floats(12, 0.5F), "dw, accumulate");
  expect_same_bits(db, Floats(3, 0.5F), "db, accumulate");
  linear_weight(ctx, s, dw, y, x, false);
  linear_bias(ctx, s, db, y, false);
  expect_same_bits(dw, Floats(12, 0.0F), "dw");
  expect_same_bits(db, Floats(3, 0.0F), "db");
}

TEST(MatmulChecks, WrongShapesAreRefused) {
  const ops::Context ctx = cpu_context();
  Floats x(8);
  Floats w(12);
  Floats y(8);
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
