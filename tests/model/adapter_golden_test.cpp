// Adapters that peft wrote (tools/oracle_peft.py): logits, loss, gradients of A and B, and merged weights.
#include <cmath>

#include "model/adapter_files.h"
#include "model/adapter_model.h"

namespace rlcpp::model {
namespace {

class AdapterGolden : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<float> floats(const std::string& name) const {
    const hub::StoredTensor& tensor = file_.tensors().at(name);
    std::vector<float> values(tensor.bytes / 4);
    file_.read_f32(tensor, values);
    return values;
  }
  std::vector<std::int32_t> ints(const std::string& name) const {
    const std::span<const std::byte> bytes = file_.bytes(file_.tensors().at(name));
    std::vector<std::int32_t> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  static void expect_close(std::span<const float> got, const std::vector<float>& wanted, double tolerance,
                           const std::string& what) {
    ASSERT_EQ(got.size(), wanted.size()) << what;
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i])));
      largest = std::max(largest, std::abs(static_cast<double>(wanted[i])));
    }
    EXPECT_LE(worst, tolerance * (1e-3 + largest)) << what;
  }

  std::string dir_ = test::data_path("peft/" + GetParam());
  std::string base_ = test::data_path("model/qwen3-tied");
  hub::SafetensorsFile file_{dir_ + "/golden.safetensors"};
};

TEST_P(AdapterGolden, IsTheModelThatPeftComputes) {
  ModelConfig config = load_config(base_);
  config.adapters = read_adapter_config(dir_ + "/adapter");
  const Row row = {ints("ids"), ints("cu_seqlens"), ints("targets"), floats("weights")};
  TestModel model(config, row.tokens(), Recompute::kNone, 1);
  load_weights(config, base_, model.masters);
  model.pack();
  AdapterModel adapters(model, 1);
  load_adapter(config, dir_ + "/adapter", adapters.masters);
  adapters.publish();

  expect_close(model.logits(row, model.run(row)), floats("logits"), 2e-5, "logits");
  const double loss = adapters.loss_and_gradients(row);
  EXPECT_NEAR(loss, static_cast<double>(floats("loss").at(0)), 1e-5 * std::abs(loss));
  const std::vector<ParameterInfo> list = adapter_list(config);
  const std::vector<Tensor> gradients = adapters.gradients();
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      expect_close(gradients[p].rows(slice.row, slice.shape[0]).f32_span(), floats("grad." + slice.name),
                   1e-4, slice.name);
    }
  }

  std::size_t merged = 0;
  const std::vector<ParameterInfo> base = parameter_list(config);
  for (std::size_t p = 0; p < base.size(); ++p) {
    for (const HfSlice& slice : base[p].slices) {
      if (!file_.tensors().contains("merged." + slice.name)) continue;
      std::vector<float> values = copy_of(model.weights.flat[p].rows(slice.row, slice.shape[0]));
      merge_adapter(config, adapters.masters, slice.name, values);
      expect_close(values, floats("merged." + slice.name), 1e-6, slice.name);
      ++merged;
    }
  }
  EXPECT_EQ(merged, GetParam() == "all-linear" ? 7U * static_cast<std::size_t>(config.num_layers) : 0U);
}

INSTANTIATE_TEST_SUITE_P(Peft, AdapterGolden, ::testing::Values("all-linear", "rslora-qv"), test_name);

}  // namespace
}  // namespace rlcpp::model
