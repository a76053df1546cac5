#include "ops/optimizer.h"

#include <fstream>
#include <list>
#include <nlohmann/json.hpp>

#include "data_path.h"
#include "ops/ops_support.h"
#include "ops/reference/optimizer.h"

namespace rlcpp::test {
namespace {

using Optimizer = OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, Optimizer, every_device(), device_name);

// One update of f32 state.
void update(const ops::Context& ctx, Floats& w, Floats& m, Floats& v, Floats& g, const ops::AdamWStep& step) {
  const auto n = static_cast<std::int64_t>(w.size());
  ops::adamw(ctx, f32(ctx, w, {n}), f32(ctx, m, {n}), f32(ctx, v, {n}), f32(ctx, g, {n}), step);
}

TEST_P(Optimizer, AdamWFollowsTheFormula) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 17, 1000}) {
    Floats w = random.normal(n);
    Floats m(n, 0.0F);
    Floats v(n, 0.0F);
    Doubles w64 = to_double(w);
    Doubles m64(n);
    Doubles v64(n);
    for (std::int64_t t = 1; t <= 30; ++t) {
      Floats g = random.normal(n, 0.1F);
      const ops::AdamWStep step = {1e-2, 0.9, 0.95, 1e-8, 0.1, t, 0.7F};
      update(ctx, w, m, v, g, step);
      ops::reference::adamw(w64, m64, v64, to_double(g), step);
    }
    expect_close(w, w64, tolerance_f32(ctx, 2e-6), "w");
    expect_close(m, m64, tolerance_f32(ctx, 1e-7), "m");
    expect_close(v, v64, tolerance_f32(ctx, 1e-7), "v");
  }
}

// Golden values of torch.optim.AdamW: tools/oracle_adamw.py.
TEST_P(Optimizer, AdamWIsTorchs) {
  std::ifstream file(test::data_path("ops/adamw.json"));
  ASSERT_TRUE(file.good());
  const nlohmann::json golden = nlohmann::json::parse(file);
  const ops::Context ctx = context();
  for (const auto& c : golden.at("cases")) {
    auto w = c.at("start").get<Floats>();
    const auto n = static_cast<std::int64_t>(w.size());
    Floats m(n, 0.0F);
    Floats v(n, 0.0F);
    std::int64_t t = 0;
    for (const auto& gradient : c.at("gradients")) {
      auto g = gradient.get<Floats>();
      ops::AdamWStep step;
      step.lr = c.at("lr");
      step.beta1 = c.at("beta1");
      step.beta2 = c.at("beta2");
      step.eps = c.at("eps");
      step.weight_decay = c.at("weight_decay");
      step.step = ++t;
      update(ctx, w, m, v, g, step);
      const auto expected = c.at("weights").at(static_cast<std::size_t>(t - 1)).get<Doubles>();
      for (std::int64_t i = 0; i < n; ++i) {
        // A few roundings a step of an update of size lr; on CUDA nvcc chooses which products and sums are
        // fused, which moves each by one more.
        const double bound = 2e-7 * (1 + std::abs(expected[i])) + 1e-6 * step.lr;
        ASSERT_NEAR(w[i], expected[i], ctx.on_gpu() ? 2 * bound : bound) << "step " << t << ", element " << i;
      }
    }
  }
}

TEST_P(Optimizer, SgdFollowsTheFormula) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 17, 1000, 40001}) {
    for (const double momentum : {0.0, 0.9}) {
      for (const bool nesterov : {false, true}) {
        Floats w = random.normal(n), m(momentum > 0 ? n : 0, 0.0F);
        Doubles w64 = to_double(w), m64(m.size());
        const ops::SgdStep step = {1e-2, momentum, nesterov, 0.1, 0.7F};
        for (int t = 0; t < 20; ++t) {
          Floats g = random.normal(n, 0.1F);
          ops::sgd(ctx, f32(ctx, w, {n}), m.empty() ? Tensor() : Tensor(f32(ctx, m, {n})), f32(ctx, g, {n}),
                   step);
          ops::reference::sgd(w64, m64, to_double(g), step);
        }
        expect_close(w, w64, tolerance_f32(ctx, 2e-6), "w");
        expect_close(m, m64, tolerance_f32(ctx, 2e-6), "m");
      }
    }
  }
}

TEST_P(Optimizer, SignSgdFollowsTheFormulaAndLeavesZerosAlone) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 17, 40001}) {
    Floats w = random.normal(n);
    Doubles w64 = to_double(w);
    const ops::SignStep step = {1e-2, 0.1};
    for (int t = 0; t < 20; ++t) {
      Floats g = random.normal(n, 1e-20F);
      g[static_cast<std::size_t>(random.between(0, n - 1))] = t % 2 == 0 ? 0.0F : -0.0F;
      ops::sign_sgd(ctx, f32(ctx, w, {n}), f32(ctx, g, {n}), step);
      ops::reference::sign_sgd(w64, to_double(g), step);
    }
    expect_close(w, w64, tolerance_f32(ctx, 2e-6), "w");
  }
}

double squares(const Floats& values) {
  long double sum = 0;
  for (const float value : values) sum += static_cast<long double>(value) * static_cast<long double>(value);
  return static_cast<double>(sum);
}

TEST_P(Optimizer, SumOfSquaresIsAccurate) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 15, 4096, 4097, 100003}) {
    Floats g = random.normal(n, 3.0F);
    const double expected = squares(g);
    EXPECT_NEAR(ops::sum_of_squares(ctx, f32(ctx, g, {n})), expected, 1e-13 * expected);
  }
}

TEST_P(Optimizer, SumOfSquaresOfManyTensors) {
  Random random;
  const ops::Context ctx = context();
  std::vector<Floats> values;
  for (const std::int64_t n : {5, 4096, 1, 70001, 8192, 3}) values.push_back(random.normal(n));
  for (int i = 0; i < 300; ++i) values.push_back(random.normal(random.between(1, 3000)));
  std::list<Mirror> mirrors;
  std::vector<Tensor> tensors;
  double expected = 0;
  for (Floats& g : values) {
    mirrors.emplace_back(ctx, g, DType::kF32,
                         std::initializer_list<std::int64_t>{static_cast<std::int64_t>(g.size())});
    tensors.push_back(mirrors.back());
    expected += squares(g);
  }
  EXPECT_NEAR(ops::sum_of_squares(ctx, tensors), expected, 1e-13 * expected);
  EXPECT_EQ(ops::sum_of_squares(ctx, std::span<const Tensor>()), 0.0);
}

TEST_P(Optimizer, ScaleMultiplies) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 63, 70001}) {
    Floats g = random.normal(n);
    Floats expected = g;
    for (float& value : expected) value *= 0.37F;
    ops::scale(ctx, f32(ctx, g, {n}), 0.37F);
    expect_same_bits(g, expected, "scaled");
  }
}

TEST_P(Optimizer, AddAddsWhateverTheAlignment) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 63, 70001}) {
    for (const std::int64_t shift : {0, 1, 4}) {
      Floats to = random.normal(n + shift);
      const Floats from = random.normal(n);
      Floats expected = to;
      for (std::int64_t i = 0; i < n; ++i) {
        expected[static_cast<std::size_t>(i + shift)] += from[static_cast<std::size_t>(i)];
      }
      {
        Floats copy = from;
        const auto sums = f32(ctx, to, {n + shift});
        const auto terms = f32(ctx, copy, {n});
        const Tensor view = sums;
        ops::add(ctx, view.rows(shift, n), terms);
      }
      expect_same_bits(to, expected, "sum");
    }
  }
}

TEST_P(Optimizer, AllFiniteFindsOneBadElement) {
  Random random;
  const ops::Context ctx = context();
  for (const std::int64_t n : {1, 100, 50000}) {
    Floats g = random.normal(n);
    g[random.between(0, n - 1)] = std::numeric_limits<float>::max();
    EXPECT_TRUE(ops::all_finite(ctx, f32(ctx, g, {n})));
    for (const float bad : {INFINITY, -INFINITY, NAN, -NAN}) {
      Floats changed = g;
      changed[random.between(0, n - 1)] = bad;
      EXPECT_FALSE(ops::all_finite(ctx, f32(ctx, changed, {n})));
    }
  }
}

// On the CPU with all instruction sets and threads, on a GPU from run to run.
TEST_P(Optimizer, SameBits) {
  const ops::Context device = context();
  Random random;
  const std::int64_t n = 200003;
  const Floats w = random.normal(n);
  const Floats v0 = [&] {
    Floats v = random.normal(n);
    for (float& value : v) value *= value;
    return v;
  }();
  Floats g = random.normal(n);
  same_bits_again(
      device,
      [&](const ops::Context& ctx) {
        Floats updated = w;
        Floats m = g;
        Floats v = v0;
        Floats scaled = g;
        update(ctx, updated, m, v, g, {1e-3, 0.9, 0.999, 1e-8, 0.01, 7, 0.3F});
        ops::scale(ctx, f32(ctx, scaled, {n}), 0.37F);
        const double sum = ops::sum_of_squares(ctx, f32(ctx, g, {n}));
        Floats all = updated;
        append(all, m);
        append(all, v);
        append(all, scaled);
        all.resize(all.size() + 2);
        std::memcpy(&all[all.size() - 2], &sum, sizeof sum);
        return all;
      },
      "optimizer");
}

}  // namespace
}  // namespace rlcpp::test
