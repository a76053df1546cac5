#include "model/rounding.h"

#include <cmath>
#include <limits>

namespace rlcpp::model {

Outcome outcome(TestModel& model, const Row& row) {
  Outcome out;
  const Tensor hidden = model.run(row);
  out.hidden = copy_of(hidden);
  out.logits = model.logits(row, hidden);
  out.loss = model.loss_and_gradients(row);
  for (const Tensor& gradient : model.gradients.flat) out.gradients.push_back(copy_of(gradient));
  return out;
}

double distance(std::span<const float> a, std::span<const float> b) {
  RLCPP_CHECK(a.size() == b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return std::isfinite(sum) ? std::sqrt(sum) : std::numeric_limits<double>::infinity();
}

Bounds rounding_bounds(TestModel& reference, const Row& row, std::mt19937_64& random) {
  const Outcome exact = outcome(reference, row);
  std::vector<std::vector<float>> weights;
  for (const Tensor& tensor : reference.masters.flat) weights.push_back(copy_of(tensor));
  Bounds bounds;
  bounds.gradients.resize(weights.size(), 0.0);
  std::uniform_real_distribution<float> rounding(-0x1p-8F, 0x1p-8F);
  for (int draw = 0; draw < 3; ++draw) {
    for (std::size_t p = 0; p < weights.size(); ++p) {
      std::vector<float> moved = weights[p];
      for (float& value : moved) value *= 1 + rounding(random);
      from_floats(reference.masters.flat[p], moved);
    }
    reference.pack();
    const Outcome other = outcome(reference, row);
    bounds.hidden = std::max(bounds.hidden, kRoundings * distance(other.hidden, exact.hidden));
    bounds.logits = std::max(bounds.logits, kRoundings * distance(other.logits, exact.logits));
    for (std::size_t p = 0; p < weights.size(); ++p) {
      bounds.gradients[p] =
          std::max(bounds.gradients[p], kRoundings * distance(other.gradients[p], exact.gradients[p]));
    }
  }
  for (std::size_t p = 0; p < weights.size(); ++p) from_floats(reference.masters.flat[p], weights[p]);
  reference.pack();
  // A single number may happen not to move at all: the loss's bound is a share of it.
  bounds.loss = 0.01 * std::abs(exact.loss);
  return bounds;
}

void expect_within(const Bounds& bounds, const Outcome& actual, const Outcome& expected,
                   const ModelConfig& config) {
  EXPECT_LE(distance(actual.hidden, expected.hidden), bounds.hidden);
  EXPECT_LE(distance(actual.logits, expected.logits), bounds.logits);
  EXPECT_NEAR(actual.loss, expected.loss, bounds.loss);
  const std::vector<ParameterInfo> list = parameter_list(config);
  for (std::size_t p = 0; p < list.size(); ++p) {
    const double bound = bounds.gradients.empty() ? 0 : bounds.gradients[p];
    EXPECT_LE(distance(actual.gradients[p], expected.gradients[p]), bound) << list[p].name;
  }
}

}  // namespace rlcpp::model
