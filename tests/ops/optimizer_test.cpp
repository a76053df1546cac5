#include "ops/optimizer.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "ops/ops_support.h"
#include "ops/reference/optimizer.h"

namespace rlcpp::test {
namespace {

TEST(Optimizer, AdamWFollowsTheFormula) {
  Random random;
  const ops::Context ctx = cpu_context();
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
      ops::adamw(ctx, view(w, {n}), view(m, {n}), view(v, {n}), view(g, {n}), step);
      ops::reference::adamw(w64, m64, v64, to_double(g), step);
    }
    expect_close(w, w64, 2e-6, "w");
    expect_close(m, m64, 1e-7, "m");
    expect_close(v, v64, 1e-7, "v");
  }
}

// Golden values of torch.optim.AdamW: tools/oracle_adamw.py.
TEST(Optimizer, AdamWIsTorchs) {
  std::ifstream file(std::string(RLCPP_TEST_DATA) + "/ops/adamw.json");
  ASSERT_TRUE(file.good());
  const nlohmann::json golden = nlohmann::json::parse(file);
  const ops::Context ctx = cpu_context();
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
      ops::adamw(ctx, view(w, {n}), view(m, {n}), view(v, {n}), view(g, {n}), step);
      const auto expected = c.at("weights").at(static_cast<std::size_t>(t - 1)).get<Doubles>();
      for (std::int64_t i = 0; i < n; ++i) {
        // A few roundings a step of an update of size lr.
        ASSERT_NEAR(w[i], expected[i], 2e-7 * (1 + std::abs(expected[i])) + 1e-6 * step.lr)
            << "step " << t << ", element " << i;
      }
    }
  }
}

TEST(Optimizer, SumOfSquaresIsAccurate) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const std::int64_t n : {1, 15, 4096, 4097, 100003}) {
    Floats g = random.normal(n, 3.0F);
    double expected = 0;
    for (const float value : g) expected += static_cast<double>(value) * static_cast<double>(value);
    EXPECT_NEAR(ops::sum_of_squares(ctx, view(g, {n})), expected, 1e-13 * expected);
  }
}

TEST(Optimizer, AllFiniteFindsOneBadElement) {
  Random random;
  const ops::Context ctx = cpu_context();
  for (const std::int64_t n : {1, 100, 50000}) {
    Floats g = random.normal(n);
    g[random.between(0, n - 1)] = std::numeric_limits<float>::max();
    EXPECT_TRUE(ops::all_finite(ctx, view(g, {n})));
    for (const float bad : {INFINITY, -INFINITY, NAN, -NAN}) {
      Floats changed = g;
      changed[random.between(0, n - 1)] = bad;
      EXPECT_FALSE(ops::all_finite(ctx, view(changed, {n})));
    }
  }
}

TEST(Optimizer, SameBitsWithAllSetsAndThreads) {
  Random random;
  const std::int64_t n = 200003;
  const Floats w = random.normal(n);
  const Floats v0 = [&] {
    Floats v = random.normal(n);
    for (float& value : v) value *= value;
    return v;
  }();
  Floats g = random.normal(n);
  same_bits_everywhere(
      [&](const ops::Context& ctx) {
        Floats updated = w;
        Floats m = g;
        Floats v = v0;
        Floats scaled = g;
        ops::adamw(ctx, view(updated, {n}), view(m, {n}), view(v, {n}), view(g, {n}),
                   {1e-3, 0.9, 0.999, 1e-8, 0.01, 7, 0.3F});
        ops::scale(ctx, view(scaled, {n}), 0.37F);
        const double sum = ops::sum_of_squares(ctx, view(g, {n}));
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
