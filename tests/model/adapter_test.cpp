// Adapters against the model whose weights they are merged into.
#include <cmath>
#include <set>

#include "model/adapter_model.h"
#include "model/paged_run.h"

namespace rlcpp::model {
namespace {

struct Shape {
  std::int64_t rank;
  double alpha;
  const char* targets;
};

// All targets, some of a fused product, one alone, and ranks that fill no vector.
const std::vector<Shape> kShapes = {
    {4, 8, "qkvogud"}, {3, 7, "qv"}, {1, 1, "ku"}, {5, 2.5, "d"}, {2, 32, "ogq"}};

class Adapters : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<TestModel> model(Recompute recompute = Recompute::kNone, int threads = 1) const {
    return models_.model(test::BackEnd::kCpu, recompute, threads);
  }
  // The model with adapters; the base is that of model() with the same seed.
  std::unique_ptr<TestModel> adapted(const Shape& shape, Recompute recompute = Recompute::kNone,
                                     int threads = 1) {
    const ModelConfig plain = config_;
    config_.adapters = adapter_config(shape.rank, shape.alpha, shape.targets);
    auto made = model(recompute, threads);
    config_ = plain;
    return made;
  }
  // The model that has W + scale B A in their place.
  std::unique_ptr<TestModel> merged(const TestModel& with, const AdapterModel& adapters) {
    auto made = model();
    const std::vector<ParameterInfo> list = parameter_list(config_);
    for (std::size_t p = 0; p < list.size(); ++p) {
      for (const HfSlice& slice : list[p].slices) {
        merge_adapter(with.config, adapters.masters, slice.name,
                      made->masters.flat[p].rows(slice.row, slice.shape[0]).f32_span());
      }
    }
    made->pack();
    return made;
  }

  RandomModels models_{GetParam()};
  ModelConfig& config_ = models_.config;
  const Row& row_ = models_.row;
  std::mt19937_64& random_ = models_.random;
};

// Along a gradient g of this norm: parameters move by 2e-3 at most and the loss by about 1e-3, where its
// curvature (attention without QK-norm is steep) is still far below its slope.
double difference_step(double norm) {
  return std::min(2e-3 / norm, 1e-3 / (norm * norm));
}

void expect_close(std::span<const float> a, std::span<const float> b, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  double worst = 0, largest = 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(std::isfinite(a[i])) << what;
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  EXPECT_LE(worst, tolerance * largest) << what;
}

// The merged weights are rounded once more, and steep attention without QK-norm enlarges that: the gradients
// of 1200 random cases came to 1e-3 at most, where a wrong scale or block is off by the value itself.
constexpr double kMergedRounding = 4e-3;

TEST_P(Adapters, ForwardIsThatOfTheMergedWeights) {
  for (const Shape& shape : kShapes) {
    const auto with = adapted(shape);
    AdapterModel adapters(*with, random_());
    const auto plain = model();
    const auto whole = merged(*with, adapters);
    const std::vector<float> hidden = copy_of(with->run(row_));
    expect_close(hidden, copy_of(whole->run(row_)), kMergedRounding / 4, shape.targets);
    // They do something: without them it is another model.
    const std::vector<float> base = copy_of(plain->run(row_));
    double change = 0;
    for (std::size_t i = 0; i < base.size(); ++i) {
      change = std::max(change, std::abs(static_cast<double>(base[i] - hidden[i])));
    }
    EXPECT_GT(change, 1e-3) << shape.targets;
  }
}

TEST_P(Adapters, WithBZeroItIsTheBaseToTheLastBit) {
  const auto with = adapted(kShapes[0]);
  AdapterModel adapters(*with, random_());
  init_adapters(with->config, adapters.masters, models_.seed);
  adapters.publish();
  const auto plain = model();
  EXPECT_TRUE(same_bits(copy_of(with->run(row_)), copy_of(plain->run(row_))));
}

// W' = W + s B A, so dB = s dW' A^T and dA = s B^T dW', with dW' of the merged model's own backward.
TEST_P(Adapters, GradientsAreThoseOfTheMergedWeights) {
  for (const Shape& shape : kShapes) {
    const auto with = adapted(shape);
    AdapterModel adapters(*with, random_());
    const auto whole = merged(*with, adapters);
    const double loss = adapters.loss_and_gradients(row_);
    EXPECT_NEAR(loss, whole->loss_and_gradients(row_), kMergedRounding / 4 * (1 + std::abs(loss)));
    const auto rank = static_cast<std::size_t>(shape.rank);
    const float scale = with->config.adapters.scale();
    for (const AdapterShape& place : adapter_shapes(with->config)) {
      for (std::size_t layer = 0; layer < adapters.masters.size(); ++layer) {
        const AdapterPair master = adapters.masters[layer].*place.place;
        const AdapterPair gradient = adapters.collected[layer].*place.place;
        const LayerTensors& g = whole->gradients.layers[layer];
        const std::string name = place.name;
        const Tensor dw = name == "qkv"       ? g.qkv
                          : name == "out"     ? g.out
                          : name == "gate_up" ? g.gate_up
                                              : g.down;
        const auto in = static_cast<std::size_t>(place.in);
        std::size_t from = 0;
        for (std::size_t i = 0; i < place.blocks.targets; ++i) {
          const auto row = static_cast<std::size_t>(place.blocks.block[i].row);
          const auto count = static_cast<std::size_t>(place.blocks.block[i].count);
          std::vector<float> da(rank * in), db(count * rank);
          for (std::size_t k = 0; k < rank; ++k) {
            const float* a = master.a.f32() + (i * rank + k) * in;
            for (std::size_t c = 0; c < in; ++c) {
              double sum = 0;
              for (std::size_t n = 0; n < count; ++n) {
                sum += static_cast<double>(master.b.f32()[(from + n) * rank + k]) *
                       static_cast<double>(dw.f32()[(row + n) * in + c]);
              }
              da[k * in + c] = static_cast<float>(static_cast<double>(scale) * sum);
            }
            for (std::size_t n = 0; n < count; ++n) {
              double sum = 0;
              for (std::size_t c = 0; c < in; ++c) {
                sum += static_cast<double>(dw.f32()[(row + n) * in + c]) * static_cast<double>(a[c]);
              }
              db[n * rank + k] = static_cast<float>(static_cast<double>(scale) * sum);
            }
          }
          expect_close({gradient.a.f32() + i * rank * in, rank * in}, da, kMergedRounding,
                       name + " A of " + shape.targets);
          expect_close({gradient.b.f32() + from * rank, count * rank}, db, kMergedRounding,
                       name + " B of " + shape.targets);
          from += count;
        }
      }
    }
  }
}

TEST_P(Adapters, FiniteDifferencesAgree) {
  const auto with = adapted(kShapes[0]);
  AdapterModel adapters(*with, random_());
  adapters.loss_and_gradients(row_);
  const std::vector<Tensor> parameters = adapters.parameters(), gradients = adapters.gradients();
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    // The derivative along the gradient's own direction is its norm: no entry is left out, and no rounding
    // drowns it.
    const std::vector<float> g = copy_of(gradients[p]), start = copy_of(parameters[p]);
    double norm = 0;
    for (const float value : g) norm += static_cast<double>(value) * static_cast<double>(value);
    norm = std::sqrt(norm);
    ASSERT_GT(norm, 0);
    const double step = difference_step(norm);
    const auto loss_at = [&](double steps) {
      for (std::size_t i = 0; i < g.size(); ++i) {
        parameters[p].f32()[i] = start[i] + static_cast<float>(steps * step) * g[i];
      }
      adapters.publish();
      return with->loss(row_);
    };
    // Two steps, so that the cubic term cancels.
    const double measured = (8 * (loss_at(1) - loss_at(-1)) - (loss_at(2) - loss_at(-2))) / (12 * step);
    std::copy(start.begin(), start.end(), parameters[p].f32());
    EXPECT_NEAR(measured, norm * norm, 0.02 * norm * norm + 2e-3 * norm) << p;
  }
}

TEST_P(Adapters, RecomputationAndThreadsChangeNoBit) {
  const std::uint64_t seed = random_();
  const auto kept = adapted(kShapes[0]);
  AdapterModel of_kept(*kept, seed);
  of_kept.loss_and_gradients(row_);
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    const auto again = adapted(kShapes[0], recompute, 3);
    AdapterModel of_again(*again, seed);
    of_again.loss_and_gradients(row_);
    EXPECT_TRUE(same_bits(of_again.flat_gradients(), of_kept.flat_gradients()))
        << static_cast<int>(recompute);
  }
}

TEST_P(Adapters, TheEnginesForwardGivesThePackedBits) {
  for (const Shape& shape : kShapes) {
    const auto with = adapted(shape);
    AdapterModel adapters(*with, random_());
    const std::vector<float> wanted = copy_of(with->run(row_));
    PagedRun run(*with, row_, 4, random_);
    std::vector<float> hidden(wanted.size(), 0.0F);
    std::vector<std::size_t> order(row_.documents());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // A prefill of some of each, then one token of each at a time.
    std::vector<std::int32_t> counts(order.size());
    for (std::size_t d = 0; d < counts.size(); ++d) counts[d] = (run.left(d) + 1) / 2;
    for (;;) {
      run.step(counts, order, hidden);
      std::int32_t total = 0;
      for (std::size_t d = 0; d < counts.size(); ++d) total += counts[d] = std::min(1, run.left(d));
      if (total == 0) break;
    }
    EXPECT_TRUE(same_bits(hidden, wanted)) << shape.targets;
  }
}

// Dropout in the whole decoder: the mask is drawn anew where it is needed again, so recomputation changes no
// bit; another key is another mask; and the gradient is that of the loss with this mask.
TEST_P(Adapters, DropoutIsTheSameInTheBackward) {
  const std::uint64_t seed = random_();
  const auto run = [&](Recompute recompute, std::uint64_t stream) {
    const ModelConfig plain = config_;
    config_.adapters = adapter_config(4, 8, "qkvogud");
    config_.adapters.dropout = 0.3;
    auto made = model(recompute);
    config_ = plain;
    made->activations->dropout = {0.3F, 5, stream};
    return made;
  };
  const auto first = run(Recompute::kNone, 1);
  AdapterModel of_first(*first, seed);
  const double loss = of_first.loss_and_gradients(row_);
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    const auto again = run(recompute, 1);
    AdapterModel of_again(*again, seed);
    EXPECT_EQ(of_again.loss_and_gradients(row_), loss);
    EXPECT_TRUE(same_bits(of_again.flat_gradients(), of_first.flat_gradients()));
  }
  const auto other = run(Recompute::kNone, 2);
  AdapterModel of_other(*other, seed);
  EXPECT_NE(of_other.loss_and_gradients(row_), loss);

  const std::vector<Tensor> parameters = of_first.parameters();
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const std::vector<float> g = copy_of(of_first.gradients()[p]), start = copy_of(parameters[p]);
    double norm = 0;
    for (const float value : g) norm += static_cast<double>(value) * static_cast<double>(value);
    norm = std::sqrt(norm);
    if (norm == 0) continue;
    const double step = difference_step(norm);
    const auto loss_at = [&](double steps) {
      for (std::size_t i = 0; i < g.size(); ++i) {
        parameters[p].f32()[i] = start[i] + static_cast<float>(steps * step) * g[i];
      }
      of_first.publish();
      return first->loss(row_);
    };
    // Two steps, so that the cubic term cancels.
    const double measured = (8 * (loss_at(1) - loss_at(-1)) - (loss_at(2) - loss_at(-2))) / (12 * step);
    std::copy(start.begin(), start.end(), parameters[p].f32());
    EXPECT_NEAR(measured, norm * norm, 0.02 * norm * norm + 2e-3 * norm) << p;
  }
}

TEST_P(Adapters, StartAsPeftDoes) {
  const auto with = adapted(kShapes[0]);
  AdapterModel adapters(*with, random_());
  init_adapters(with->config, adapters.masters, 7);
  const std::vector<float> first = copy_of(adapters.parameters()[0]);
  for (const AdapterShape& shape : adapter_shapes(with->config)) {
    const AdapterPair pair = adapters.masters[0].*shape.place;
    const double bound = 1 / std::sqrt(static_cast<double>(shape.in));
    double largest = 0, sum = 0;
    for (const float value : pair.a.f32_span()) {
      largest = std::max(largest, std::abs(static_cast<double>(value)));
      sum += static_cast<double>(value) * static_cast<double>(value);
    }
    EXPECT_LE(largest, bound);
    // Uniform: variance bound^2 / 3.
    const double n = static_cast<double>(pair.a.size());
    EXPECT_NEAR(sum / n, bound * bound / 3, 5 * bound * bound / std::sqrt(n)) << shape.name;
    for (const float value : pair.b.f32_span()) EXPECT_EQ(value, 0.0F);
  }
  init_adapters(with->config, adapters.masters, 7);
  EXPECT_EQ(copy_of(adapters.parameters()[0]), first);
  init_adapters(with->config, adapters.masters, 8);
  EXPECT_NE(copy_of(adapters.parameters()[0]), first);
}

TEST_P(Adapters, ListNamesEveryTensorOfPeftOnce) {
  config_.adapters = adapter_config(4, 8, "qkvogud");
  std::set<std::string> names;
  std::int64_t numbers = 0;
  for (const ParameterInfo& info : adapter_list(config_)) {
    std::int64_t rows = 0;
    for (const HfSlice& slice : info.slices) {
      EXPECT_TRUE(names.insert(slice.name).second) << slice.name;
      EXPECT_EQ(slice.row, rows);
      rows += slice.shape[0];
      numbers += slice.shape[0] * slice.shape[1];
    }
    EXPECT_EQ(rows, info.shape[0]);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(14 * config_.num_layers));
  EXPECT_EQ(numbers, adapter_parameters(config_));
  EXPECT_TRUE(names.contains("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"));
  EXPECT_TRUE(names.contains("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"));
}

INSTANTIATE_TEST_SUITE_P(All, Adapters, ::testing::ValuesIn(golden_names()), test_name);

}  // namespace
}  // namespace rlcpp::model
