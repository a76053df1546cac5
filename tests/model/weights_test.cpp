#include "model/weights.h"

#include <cmath>
#include <map>
#include <numeric>

#include "base/rng.h"
#include "ops/back_ends.h"
#include "support.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

ModelConfig small(Family family, bool tied) {
  ModelConfig c;
  c.family = family;
  c.vocab_size = 50;
  c.hidden_size = 24;
  c.intermediate_size = 40;
  c.num_layers = 2;
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.head_dim = 10;
  c.tied = tied;
  c.qk_norm = family == Family::kQwen3;
  c.qkv_bias = family != Family::kQwen3;
  c.out_bias = c.mlp_bias = family == Family::kLlama;
  return c;
}

struct Weights {
  explicit Weights(const ModelConfig& config, std::uint64_t seed, ThreadPool* pool = nullptr,
                   Device device = {}) {
    MemoryPlan plan;
    const WeightRegions regions = plan_weights(config, plan, MemoryUse::kWeights, "", DType::kF32);
    arena = std::make_unique<Arena>(std::move(plan), device);
    arena->poison_all();
    set = make_weight_set(config, *arena, regions);
    init_random(config, set, seed, pool);
  }
  std::unique_ptr<Arena> arena;
  WeightSet set;
};

TEST(Weights, ListCoversEveryParameterOnce) {
  for (const Family family : {Family::kQwen3, Family::kQwen2, Family::kLlama}) {
    for (const bool tied : {false, true}) {
      const ModelConfig config = small(family, tied);
      std::int64_t total = 0;
      std::map<std::string, int> names;
      for (const ParameterInfo& info : parameter_list(config)) {
        std::int64_t inside = 0, next_row = 0, size = 1;
        for (const std::int64_t extent : info.shape) size *= extent;
        for (const HfSlice& slice : info.slices) {
          EXPECT_EQ(slice.row, next_row) << slice.name;
          next_row += slice.shape[0];
          inside +=
              std::accumulate(slice.shape.begin(), slice.shape.end(), std::int64_t{1}, std::multiplies<>());
          ++names[slice.name];
        }
        EXPECT_EQ(inside, size) << info.name;
        EXPECT_EQ(info.product, info.shape.size() == 2 && (info.name != "embedding" || tied)) << info.name;
        total += size;
      }
      EXPECT_EQ(total, config.parameters());
      for (const auto& [name, count] : names) EXPECT_EQ(count, 1) << name;
      EXPECT_EQ(names.contains("lm_head.weight"), !tied);
    }
  }
}

TEST(Weights, PlacesAreTheFlatTensors) {
  const ModelConfig config = small(Family::kLlama, false);
  const Weights w(config, 1);
  const std::vector<ParameterInfo> list = parameter_list(config);
  const auto flat = [&](const std::string& name) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list[i].name == name) return w.set.flat[i].raw();
    }
    return static_cast<void*>(nullptr);
  };
  const LayerTensors& layer = w.set.layers[1];
  const std::map<std::string, Tensor> places = {{"embedding", w.set.embedding},
                                                {"head", w.set.head},
                                                {"final_norm", w.set.final_norm},
                                                {"layers.1.input_norm", layer.input_norm},
                                                {"layers.1.qkv", layer.qkv},
                                                {"layers.1.qkv_bias", layer.qkv_bias},
                                                {"layers.1.out", layer.out},
                                                {"layers.1.out_bias", layer.out_bias},
                                                {"layers.1.post_norm", layer.post_norm},
                                                {"layers.1.gate_up", layer.gate_up},
                                                {"layers.1.gate_up_bias", layer.gate_up_bias},
                                                {"layers.1.down", layer.down},
                                                {"layers.1.down_bias", layer.down_bias}};
  for (const auto& [name, tensor] : places) EXPECT_EQ(tensor.raw(), flat(name)) << name;
  const Weights tied(small(Family::kQwen3, true), 1);
  EXPECT_EQ(tied.set.head.raw(), tied.set.embedding.raw());
  EXPECT_FALSE(tied.set.layers[0].q_norm.empty());
  EXPECT_TRUE(tied.set.layers[0].qkv_bias.empty());
}

TEST(InitRandom, IsAFunctionOfSeedAndName) {
  const ModelConfig untied = small(Family::kQwen3, false);
  ModelConfig other = untied;  // another layout: tied, biases, fewer layers
  other.tied = true;
  other.qkv_bias = true;
  other.num_layers = 1;
  ThreadPool pool(3);
  const Weights a(untied, 7), b(other, 7, &pool), c(untied, 8);
  const auto same = [](const Tensor& x, const Tensor& y) {
    return x.size() == y.size() && std::equal(x.f32(), x.f32() + x.size(), y.f32());
  };
  EXPECT_TRUE(same(a.set.embedding, b.set.embedding));
  EXPECT_TRUE(same(a.set.layers[0].qkv, b.set.layers[0].qkv));
  EXPECT_TRUE(same(a.set.layers[0].down, b.set.layers[0].down));
  EXPECT_FALSE(same(a.set.embedding, c.set.embedding));
  EXPECT_FALSE(same(a.set.embedding, a.set.head));
  EXPECT_FALSE(same(a.set.layers[0].qkv, a.set.layers[1].qkv));
  EXPECT_EQ(a.set.final_norm.f32()[3], 1.0F);
  EXPECT_EQ(a.set.layers[0].q_norm.f32()[0], 1.0F);
  EXPECT_EQ(b.set.layers[0].qkv_bias.f32()[5], 0.0F);
}

using InitOnDevice = test::OnEveryDevice;
INSTANTIATE_TEST_SUITE_P(, InitOnDevice, test::every_device(), test::device_name);

TEST_P(InitOnDevice, GivesTheSameNumbers) {
  const ModelConfig config = small(Family::kLlama, false);
  const std::uint64_t seed = test::fresh_seed();
  ThreadPool pool(2);
  const Weights here(config, seed), there(config, seed, &pool, context().device);
  for (std::size_t p = 0; p < here.set.flat.size(); ++p) {
    EXPECT_EQ(to_floats(there.set.flat[p]), to_floats(here.set.flat[p])) << p;
  }
}

// Against Philox as base/rng.h gives it and Box and Muller in f64.
TEST(InitRandom, IsBoxAndMullerOnPhilox) {
  ModelConfig config = small(Family::kQwen3, false);
  config.vocab_size = 5000;
  config.hidden_size = 300;
  config.initializer_range = 1.0;
  const std::uint64_t seed = test::fresh_seed();
  const Weights w(config, seed);
  std::uint64_t stream = 0xcbf29ce484222325ULL;
  for (const char c : std::string("model.embed_tokens.weight")) {
    stream = (stream ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  stream = mix64(stream);
  const float* values = w.set.embedding.f32();
  const std::int64_t size = w.set.embedding.size();
  double worst = 0, sum = 0, squares = 0, fourth = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    // Within 256 values: value k * 64 + lane is word k of block `lane`.
    const std::int64_t word = i % 256 / 64, lane = i % 64;
    const PhiloxBlock block = philox4x32(static_cast<std::uint64_t>(i / 256 * 64 + lane), stream, seed);
    const auto at = static_cast<std::size_t>(word / 2 * 2);
    const double u1 = ((block[at] >> 8) + 1) * 0x1p-24, u2 = (block[at + 1] >> 8) * 0x1p-24;
    const double angle = 2 * M_PI * u2;
    const double wanted = std::sqrt(-2 * std::log(u1)) * (word % 2 == 0 ? std::cos(angle) : std::sin(angle));
    worst = std::max(worst, std::abs(values[i] - wanted));
    sum += values[i];
    squares += double{values[i]} * values[i];
    fourth += std::pow(double{values[i]}, 4);
  }
  EXPECT_LT(worst, 3e-6);
  const auto n = static_cast<double>(size);  // 1.5 million: moments within five standard errors
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96 / n));
}

}  // namespace
}  // namespace rlcpp::model
