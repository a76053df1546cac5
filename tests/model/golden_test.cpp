// Forward and backward against transformers (tools/oracle_models.py), on every device.
#include <cmath>

#include "model/harness.h"
#include "model/rounding.h"

namespace rlcpp::model {
namespace {

constexpr double kLogitTolerance = 2e-4;
constexpr double kGradientTolerance = 1e-3;  // of the gradient's norm

class GoldenModel : public ::testing::TestWithParam<Where> {
 protected:
  std::unique_ptr<TestModel> load(Recompute recompute, int threads, test::BackEnd back_end) const {
    auto model =
        std::make_unique<TestModel>(golden_.config, golden_.row.tokens(), recompute, threads, back_end);
    load_weights(golden_.config, golden_.dir, model->masters);
    model->pack();
    return model;
  }
  bool exact() const { return std::get<1>(GetParam()) == test::BackEnd::kCpu; }
  // What bf16 may add to the tolerances of f32; some golden weights are no bf16 values, which is one rounding
  // more.
  Bounds extra() const {
    if (exact()) return {};
    std::mt19937_64 random(test::fresh_seed());
    return rounding_bounds(*load(Recompute::kNone, 2, test::BackEnd::kCpu), golden_.row, random);
  }

  Golden golden_{std::get<0>(GetParam())};
};

// Rows [row, row + count) of a stored gradient are the HF tensor's. `extra`: of the whole stored gradient.
void expect_gradient(const Golden& golden, const HfSlice& slice, std::span<const float> mine,
                     std::size_t begin, double extra) {
  const std::vector<float> wanted = golden.gradient(slice.name);
  double norm = 0;
  for (const float value : wanted) norm += std::pow(double{value}, 2);
  // The gradient of k's bias is zero but for rounding: softmax does not see a constant added to every score
  // of a query, and only rope makes it matter. It is still not zero here, so the relative bound holds for it
  // too.
  EXPECT_GT(norm, 0) << slice.name;
  EXPECT_LE(distance(mine.subspan(begin, wanted.size()), wanted),
            kGradientTolerance * std::sqrt(norm) + extra)
      << slice.name;
}

void expect_gradients(const Golden& golden, const TestModel& model, const Bounds& extra) {
  const std::vector<ParameterInfo> list = parameter_list(golden.config);
  for (std::size_t p = 0; p < list.size(); ++p) {
    const std::vector<float> mine = copy_of(model.gradients.flat[p]);
    const std::size_t row = mine.size() / static_cast<std::size_t>(list[p].shape[0]);
    for (const HfSlice& slice : list[p].slices) {
      expect_gradient(golden, slice, mine, static_cast<std::size_t>(slice.row) * row,
                      extra.gradients.empty() ? 0 : extra.gradients[p]);
    }
  }
}

TEST_P(GoldenModel, PackedRowAgrees) {
  const auto model = load(Recompute::kNone, 2, std::get<1>(GetParam()));
  const Bounds more = extra();
  const std::vector<float> logits = model->logits(golden_.row, model->run(golden_.row));
  ASSERT_EQ(logits.size(), golden_.logits.size());
  if (exact()) {
    double worst = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      worst = std::max(worst, std::abs(double{logits[i]} - golden_.logits[i]));
    }
    EXPECT_LE(worst, kLogitTolerance);
  } else {
    EXPECT_LE(distance(logits, golden_.logits), more.logits);
  }
  EXPECT_NEAR(model->loss_and_gradients(golden_.row), golden_.loss, 1e-5 * golden_.loss + more.loss);
  expect_gradients(golden_, *model, more);
}

TEST_P(GoldenModel, DocumentsOneByOneAgree) {
  const auto model = load(Recompute::kFull, 1, std::get<1>(GetParam()));
  const Bounds more = extra();
  double loss = 0;
  for (std::size_t d = 0; d < golden_.row.documents(); ++d) {
    loss += model->loss_and_gradients(golden_.row.document(d), d > 0);
  }
  EXPECT_NEAR(loss, golden_.loss, 1e-5 * golden_.loss + more.loss);
  expect_gradients(golden_, *model, more);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, everywhere(), where_name);

}  // namespace
}  // namespace rlcpp::model
