// What must hold to the last bit: repetition and threads, recompute, frozen parameters, and on the CPU
// packing; agreement of a GPU in bf16 with the CPU; and the loss's slope in random directions. Agreement with
// transformers is in golden_test.cpp.
#include "model/decoder.h"

#include <cmath>
#include <numeric>

#include "model/harness.h"
#include "model/rounding.h"

namespace rlcpp::model {
namespace {

class Decoder : public RandomWeights {
 protected:
  // The same weights on the CPU.
  std::unique_ptr<TestModel> reference() const { return models_.model(test::BackEnd::kCpu); }
  Bounds bounds() { return exact() ? Bounds{} : rounding_bounds(*reference(), row_, random_); }
};

TEST_P(Decoder, AgreesWithTheCpuInF32) {
  const auto m = model();
  expect_within(bounds(), outcome(*m, row_), outcome(*reference(), row_), config_);
}

// Once more, and on the CPU with other numbers of threads.
TEST_P(Decoder, TheSameBitsAgain) {
  const auto one = model(Recompute::kNone, 1);
  const Outcome first = outcome(*one, row_);
  for (const auto& gradient : first.gradients) {
    for (const float value : gradient) ASSERT_TRUE(std::isfinite(value));
  }
  for (const int threads : {1, 2, 3}) {
    const auto many = model(Recompute::kNone, threads);
    const Outcome again = outcome(*many, row_);
    EXPECT_TRUE(same_bits(again.hidden, first.hidden)) << threads;
    EXPECT_TRUE(same_bits(again.logits, first.logits)) << threads;
    EXPECT_EQ(again.loss, first.loss) << threads;
    for (std::size_t p = 0; p < first.gradients.size(); ++p) {
      EXPECT_TRUE(same_bits(again.gradients[p], first.gradients[p])) << threads << " " << p;
    }
  }
}

// The CPU: the same bits. A GPU may take other kernels for another number of rows; the rest of the row is
// still none of a document's business.
TEST_P(Decoder, PackedIsAlone) {
  const auto m = model();
  const Tensor packed = m->run(row_);
  const std::vector<float> hidden = copy_of(packed), logits = m->logits(row_, packed);
  const Bounds allowed = bounds();
  const auto h = static_cast<std::size_t>(config_.hidden_size),
             v = static_cast<std::size_t>(config_.vocab_size);
  for (std::size_t d = 0; d < row_.documents(); ++d) {
    const Row alone = row_.document(d);
    const auto begin = static_cast<std::size_t>(row_.cu_seqlens[d]);
    const Tensor own = m->run(alone);
    const auto own_hidden = copy_of(own), own_logits = m->logits(alone, own);
    const auto part_hidden = std::span(hidden).subspan(begin * h, alone.ids.size() * h);
    const auto part_logits = std::span(logits).subspan(begin * v, alone.ids.size() * v);
    EXPECT_LE(distance(own_hidden, part_hidden), allowed.hidden) << d;
    EXPECT_LE(distance(own_logits, part_logits), allowed.logits) << d;
    if (!exact()) continue;
    EXPECT_TRUE(same_bits(own_hidden, part_hidden)) << d;
    EXPECT_TRUE(same_bits(own_logits, part_logits)) << d;
  }
}

TEST_P(Decoder, RecomputeDoesNotMatter) {
  const auto none = model(Recompute::kNone);
  const std::vector<float> hidden = copy_of(none->run(row_));
  const double loss = none->loss_and_gradients(row_);
  const std::vector<float> gradients = flat_gradients(*none);
  std::size_t planned = none->arena->plan().bytes_of(MemoryUse::kActivations);
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kAttention, Recompute::kFull}) {
    const auto other = model(recompute);
    EXPECT_TRUE(same_bits(copy_of(other->run(row_)), hidden));
    EXPECT_EQ(other->loss_and_gradients(row_), loss);
    EXPECT_TRUE(same_bits(flat_gradients(*other), gradients));
    const std::size_t bytes = other->arena->plan().bytes_of(MemoryUse::kActivations);
    EXPECT_LT(bytes, planned);
    planned = bytes;
  }
}

// The queue of the CPU makes copies as late as it may (ops/copy_queue.h), so an order that is not asked for
// shows here. Rows of several lengths, forwards without a backward, and frozen layers come in between.
TEST_P(Decoder, OffloadingChangesNoBit) {
  models_.config.num_layers = 6;
  const auto none = model(Recompute::kNone);
  std::vector<bool> upper;
  for (const ParameterInfo& info : parameter_list(config_)) {
    upper.push_back(info.name.starts_with("layers.3.") || info.name.starts_with("layers.5."));
  }
  for (const auto& [policy, inflight] : {std::pair<Recompute, std::int64_t>{Recompute::kOffload, 2},
                                         {Recompute::kOffload, 3},
                                         {Recompute::kOffload, 5},
                                         {Recompute::kOffload, 6},
                                         {Recompute::kOffload, 9},
                                         {Recompute::kOffloadAttention, 2},
                                         {Recompute::kOffloadAttention, 3},
                                         {Recompute::kOffloadAttention, 9}}) {
    const auto other = model(policy, 2, inflight);
    for (int round = 0; round < 2; ++round) {
      const Row row = round == 0 ? row_ : random_row(config_, {3, 8}, random_);
      EXPECT_EQ(other->loss(row), none->loss(row));
      EXPECT_EQ(other->loss_and_gradients(row), none->loss_and_gradients(row));
      EXPECT_TRUE(same_bits(flat_gradients(*other), flat_gradients(*none))) << inflight;
      other->freeze(upper);
      none->freeze(upper);
      other->loss_and_gradients(row_);
      none->loss_and_gradients(row_);
      EXPECT_TRUE(same_bits(flat_gradients(*other), flat_gradients(*none))) << inflight << ", frozen";
      const std::vector<bool> all(upper.size(), true);
      other->freeze(all);
      none->freeze(all);
    }
  }
}

// Where the device has memory of its own, it holds the slots alone.
TEST_P(Decoder, OffloadMovesBlockInputsOutOfThePlan) {
  models_.config.num_layers = 6;
  const std::int64_t tokens = 64;
  const auto input = static_cast<std::size_t>(tokens * config_.hidden_size) * 2;
  ASSERT_EQ(input % 256, 0U);
  MemoryPlan full, offload;
  Activations::plan(config_, full, tokens, Recompute::kFull, DType::kBF16);
  Activations::plan(config_, offload, tokens, Recompute::kOffload, DType::kBF16, {2, true});
  EXPECT_EQ(offload.bytes_of(MemoryUse::kHostActivations), 4 * input);
  EXPECT_EQ(offload.host_bytes(), 4 * input);
  EXPECT_EQ(offload.total_bytes() + 4 * input, full.total_bytes());
  // What attention gives, too: two of it are on the device where one was, and statistics of every layer.
  const auto attn = static_cast<std::size_t>(tokens * config_.num_heads * config_.head_dim) * 2;
  const auto lse = static_cast<std::size_t>(tokens * config_.num_heads) * 4;
  ASSERT_EQ(attn % 256 + lse % 256, 0U);
  MemoryPlan both;
  Activations::plan(config_, both, tokens, Recompute::kOffloadAttention, DType::kBF16, {2, true});
  EXPECT_EQ(both.host_bytes(), 4 * (input + attn));
  EXPECT_EQ(both.total_bytes(), offload.total_bytes() + attn + 5 * lse);
}

// A back end without packed forms computes from the weights in any case.
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

INSTANTIATE_TEST_SUITE_P(All, Decoder, everywhere(), where_name);

// What only f32 can show.
class DecoderInF32 : public ::testing::TestWithParam<std::string> {
 protected:
  RandomModels models_{GetParam()};
};

// d loss / d epsilon along a random direction against the central difference. Directions are scaled by
// parameter, so that no tensor drowns in another's share.
TEST_P(DecoderInF32, SlopeInRandomDirections) {
  const auto m = models_.model(test::BackEnd::kCpu);
  m->loss_and_gradients(models_.row);
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
        d[i] = along * gradient[i] + normal(models_.random) / std::sqrt(static_cast<float>(d.size()));
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
      const double loss = m->loss(models_.row);
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

// The bounds that bf16 is held to are narrow: each of these mistakes breaks them.
TEST_P(DecoderInF32, BoundsSeeWrongTerms) {
  const auto right = models_.model(test::BackEnd::kCpu);
  const Row& row = models_.row;
  const Outcome expected = outcome(*right, row);
  const Bounds bounds = rounding_bounds(*right, row, models_.random);
  const auto seen = [&](TestModel& wrong, const Row& given) {
    const Outcome actual = outcome(wrong, given);
    bool outside = distance(actual.logits, expected.logits) > bounds.logits;
    for (std::size_t p = 0; p < actual.gradients.size(); ++p) {
      outside = outside || distance(actual.gradients[p], expected.gradients[p]) > bounds.gradients[p];
    }
    return outside;
  };
  EXPECT_FALSE(seen(*right, row)) << "the weights are not what they were";

  Row one_document = row;  // documents see each other
  one_document.cu_seqlens = {0, static_cast<std::int32_t>(row.tokens())};
  EXPECT_TRUE(seen(*right, one_document));

  const auto still = models_.model(test::BackEnd::kCpu);  // no rotary positions
  std::fill_n(still->rope.cos.f32(), still->rope.cos.size(), 1.0F);
  std::fill_n(still->rope.sin.f32(), still->rope.sin.size(), 0.0F);
  EXPECT_TRUE(seen(*still, row));

  const std::vector<ParameterInfo> list = parameter_list(models_.config);
  for (std::size_t p = 0; p < list.size(); ++p) {
    if (list[p].name.ends_with("qkv_bias")) continue;  // softmax hardly sees it
    // Lost: a bias, every second weight of a norm, every fourth row of a matrix.
    const auto less = models_.model(test::BackEnd::kCpu);
    const Tensor& t = less->masters.flat[p];
    const std::int64_t width = t.size() / t.dim(0);
    const std::int64_t each = t.rank() > 1 ? 4 : list[p].name.ends_with("norm") ? 2 : 1;
    for (std::int64_t i = 0; i < t.size(); ++i) {
      if ((i / width) % each == 0) t.f32()[i] = 0.0F;
    }
    less->pack();
    EXPECT_TRUE(seen(*less, row)) << list[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DecoderInF32, ::testing::ValuesIn(golden_names()), test_name);

}  // namespace
}  // namespace rlcpp::model
