// What must hold to the last bit: threads, packing, recompute, pages, frozen parameters; and the loss's slope
// in random directions. Agreement with transformers is in golden_test.cpp.
#include "model/decoder.h"

#include <cmath>
#include <numeric>

#include "model/harness.h"

namespace rlcpp::model {
namespace {

class Decoder : public RandomWeights {};

TEST_P(Decoder, ThreadsDoNotMatter) {
  const auto one = model(Recompute::kNone, 1);
  const std::vector<float> hidden = copy_of(one->run(row_));
  one->loss_and_gradients(row_);
  const std::vector<float> gradients = flat_gradients(*one);
  for (const float value : gradients) ASSERT_TRUE(std::isfinite(value));
  for (const int threads : {2, 3}) {
    const auto many = model(Recompute::kNone, threads);
    EXPECT_TRUE(same_bits(copy_of(many->run(row_)), hidden)) << threads;
    many->loss_and_gradients(row_);
    EXPECT_TRUE(same_bits(flat_gradients(*many), gradients)) << threads;
  }
}

TEST_P(Decoder, PackedIsAlone) {
  const auto m = model();
  const std::vector<float> hidden = copy_of(m->run(row_));
  const std::vector<float> logits = m->logits(row_, m->run(row_));
  const auto h = static_cast<std::size_t>(config_.hidden_size),
             v = static_cast<std::size_t>(config_.vocab_size);
  for (std::size_t d = 0; d < row_.documents(); ++d) {
    const Row alone = row_.document(d);
    const auto begin = static_cast<std::size_t>(row_.cu_seqlens[d]);
    const Tensor own = m->run(alone);
    EXPECT_TRUE(same_bits(copy_of(own), std::span(hidden).subspan(begin * h, alone.ids.size() * h))) << d;
    EXPECT_TRUE(same_bits(m->logits(alone, own), std::span(logits).subspan(begin * v, alone.ids.size() * v)))
        << d;
  }
}

TEST_P(Decoder, RecomputeDoesNotMatter) {
  const auto none = model(Recompute::kNone);
  const std::vector<float> hidden = copy_of(none->run(row_));
  const double loss = none->loss_and_gradients(row_);
  const std::vector<float> gradients = flat_gradients(*none);
  std::size_t planned = none->arena->plan().bytes_of(MemoryUse::kActivations);
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    const auto other = model(recompute);
    EXPECT_TRUE(same_bits(copy_of(other->run(row_)), hidden));
    EXPECT_EQ(other->loss_and_gradients(row_), loss);
    EXPECT_TRUE(same_bits(flat_gradients(*other), gradients));
    const std::size_t bytes = other->arena->plan().bytes_of(MemoryUse::kActivations);
    EXPECT_LT(bytes, planned);
    planned = bytes;
  }
}

TEST_P(Decoder, PackedWeightsDoNotMatter) {
  const auto m = model();
  const std::vector<float> hidden = copy_of(m->run(row_));
  for (LayerTensors& layer : m->packed.layers) layer = LayerTensors();
  EXPECT_TRUE(same_bits(copy_of(m->run(row_)), hidden));
}

TEST_P(Decoder, GradientsAccumulate) {
  const auto m = model();
  m->loss_and_gradients(row_);
  const std::vector<float> once = flat_gradients(*m);
  m->loss_and_gradients(row_, true);
  const std::vector<float> twice = flat_gradients(*m);
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < once.size(); ++i) {
    difference += std::pow(double{twice[i]} - 2.0 * once[i], 2);
    norm += std::pow(double{once[i]}, 2);
  }
  EXPECT_GT(norm, 0);
  EXPECT_LE(std::sqrt(difference), 1e-5 * std::sqrt(norm));
}

// A frozen parameter changes no other gradient by a bit, whatever is frozen, the lowest layers included.
TEST_P(Decoder, FrozenParametersChangeNothingElse) {
  const auto full = model();
  full->loss_and_gradients(row_);
  const std::vector<ParameterInfo> list = parameter_list(config_);
  std::vector<std::vector<bool>> choices;
  choices.emplace_back(list.size(), false);  // all frozen but the head or final norm
  choices.back().back() = true;
  for (int trial = 0; trial < 4; ++trial) {
    std::vector<bool> trained(list.size());
    for (std::size_t p = 0; p < list.size(); ++p) {
      const bool low = list[p].name == "embedding" || list[p].name.starts_with("layers.0.");
      trained[p] = random_() % 2 == 0 && !(trial < 2 && low);
    }
    choices.push_back(trained);
  }
  for (const std::vector<bool>& trained : choices) {
    const auto part = model();
    part->freeze(trained);
    part->loss_and_gradients(row_);
    for (std::size_t p = 0; p < list.size(); ++p) {
      if (!trained[p]) {
        EXPECT_TRUE(part->gradients.flat[p].empty());
        continue;
      }
      EXPECT_TRUE(same_bits(copy_of(part->gradients.flat[p]), copy_of(full->gradients.flat[p])))
          << list[p].name;
    }
  }
}

// d loss / d epsilon along a random direction against the central difference. Directions are scaled by
// parameter, so that no tensor drowns in another's share.
TEST_P(Decoder, SlopeInRandomDirections) {
  const auto m = model();
  m->loss_and_gradients(row_);
  std::normal_distribution<float> normal;
  for (int trial = 0; trial < 3; ++trial) {
    std::vector<std::vector<float>> direction;
    double slope = 0, length = 0;
    for (std::size_t p = 0; p < m->weights.flat.size(); ++p) {
      const std::span<const float> gradient = m->gradients.flat[p].f32_span();
      double norm = 0;
      for (const float g : gradient) norm += double{g} * g;
      // Half of the direction follows the gradient: a random one alone is nearly at right angles to it.
      const auto along = static_cast<float>(1.0 / std::sqrt(norm));
      std::vector<float> d(gradient.size());
      for (std::size_t i = 0; i < d.size(); ++i) {
        d[i] = along * gradient[i] + normal(random_) / std::sqrt(static_cast<float>(d.size()));
        slope += double{d[i]} * gradient[i];
        length += double{d[i]} * d[i];
      }
      direction.push_back(std::move(d));
    }
    const auto loss_at = [&](float epsilon) {
      std::vector<std::vector<float>> saved;
      for (std::size_t p = 0; p < direction.size(); ++p) {
        const std::span<float> w = m->weights.flat[p].f32_span();
        saved.emplace_back(w.begin(), w.end());
        for (std::size_t i = 0; i < w.size(); ++i) w[i] += epsilon * direction[p][i];
      }
      m->pack();
      const double loss = m->loss(row_);
      for (std::size_t p = 0; p < saved.size(); ++p) {
        std::copy(saved[p].begin(), saved[p].end(), m->weights.flat[p].f32());
      }
      return loss;
    };
    const auto epsilon = static_cast<float>(4e-3 / std::sqrt(length));
    // Richardson's step removes the error of order epsilon^2.
    const double coarse = (loss_at(2 * epsilon) - loss_at(-2 * epsilon)) / (4 * double{epsilon});
    const double fine = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * double{epsilon});
    EXPECT_NEAR((4 * fine - coarse) / 3, slope, 5e-3 * std::abs(slope)) << "trial " << trial;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Decoder, ::testing::ValuesIn(golden_names()), test_name);

}  // namespace
}  // namespace rlcpp::model
