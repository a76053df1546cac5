// A model with everything that forward and backward need, in one poisoned arena on any device, and the golden
// models of tests/data/model (tools/oracle_models.py).
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "data_path.h"
#include "hub/safetensors.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "ops/back_ends.h"
#include "ops/head.h"
#include "support.h"
#include "tensor/copy.h"

namespace rlcpp::model {

// A packed row with its loss: sum over rows of weight * -log p(target).
struct Row {
  std::vector<std::int32_t> ids, cu_seqlens, targets;
  std::vector<float> weights;

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  std::size_t documents() const { return cu_seqlens.size() - 1; }
  // Document d as a row of its own.
  Row document(std::size_t d) const;
};

// Random documents of the given lengths; targets are the next tokens, some weights are zero.
Row random_row(const ModelConfig& config, const std::vector<std::int64_t>& lengths, std::mt19937_64& random);

class TestModel {
 public:
  TestModel(const ModelConfig& config, std::int64_t max_tokens, Recompute recompute, int threads,
            test::BackEnd back_end = test::BackEnd::kCpu, std::int64_t inflight = 2);

  // Hidden states of the row [M, H].
  Tensor run(const Row& row);
  // Logits [M, V] of the hidden states of the last run.
  std::vector<float> logits(const Row& row, const Tensor& hidden);
  // Forward, head and backward; gradients are zeroed first unless `accumulate`. Frozen parameters (false in
  // `trained`, in the order of parameter_list) have no gradient tensor.
  double loss_and_gradients(const Row& row, bool accumulate = false);
  double loss(const Row& row);
  void freeze(const std::vector<bool>& trained);
  // After masters changed: what the decoder reads is made anew.
  void pack();

  ModelConfig config;
  ops::Context context;
  std::unique_ptr<Arena> arena;
  // What the decoder reads, in the compute type; the same in f32, which tests fill; one where both are f32.
  WeightSet weights, masters;
  WeightSet packed, gradients;
  RopeTables rope;
  std::unique_ptr<Activations> activations;
  PackedBatch batch(const Row& row) const;

 private:
  ops::HeadInputs head(const Row& row, const Tensor& hidden) const;
  double loss_of(const Row& row) const;  // of the log-probabilities that the head left

  WeightSet all_gradients_;
  Tensor ids_, positions_, cu_, targets_, temperatures_, coefficients_, logprobs_, dhidden_, chunk_,
      all_logits_;
};

// The first elements of `tensor`, wherever it lies.
inline void put(const Tensor& tensor, const std::vector<std::int32_t>& values) {
  copy(tensor.view({tensor.size()}).rows(0, static_cast<std::int64_t>(values.size())),
       host_view(std::span(values), DType::kI32));
}
inline void put(const Tensor& tensor, const std::vector<float>& values) {
  from_floats(tensor.rows(0, static_cast<std::int64_t>(values.size())), values);
}

// Every bit of two tensors or vectors.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
// The values on the host, as f32.
inline std::vector<float> copy_of(const Tensor& tensor) {
  return to_floats(tensor);
}
// All gradients one after the other.
std::vector<float> flat_gradients(const TestModel& model);

// One golden model of tests/data/model.
struct Golden {
  explicit Golden(const std::string& name);
  std::string dir;
  ModelConfig config;
  Row row;
  std::vector<float> logits;
  double loss = 0;
  std::vector<float> gradient(const std::string& hf_name) const;

 private:
  hub::SafetensorsFile file_;
};
inline const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names = {"qwen3-tied", "qwen2-sharded", "llama3-biased",
                                                 "qwen3-yarn"};
  return names;
}

// A golden model on a back end; named qwen3_tied_Cpu.
using Where = std::tuple<std::string, test::BackEnd>;
inline auto everywhere() {
  return ::testing::Combine(::testing::ValuesIn(golden_names()), ::testing::ValuesIn(test::back_ends()));
}
inline std::string name_of(const std::string& model) {
  std::string name = model;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
inline std::string where_name(const ::testing::TestParamInfo<Where>& info) {
  return name_of(std::get<0>(info.param)) + "_" + test::name_of(std::get<1>(info.param));
}
inline std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  return name_of(info.param);
}

// A golden model's architecture with fresh weights and a fresh packed row.
class RandomModels {
 public:
  explicit RandomModels(const std::string& golden)
      : config(load_config(test::data_path("model/" + golden))) {}

  // Norms and biases are away from one and zero. The masters are bf16 values, the same for every model of one
  // test on every back end, so that a GPU's copies of them are exact.
  std::unique_ptr<TestModel> model(test::BackEnd back_end, Recompute recompute = Recompute::kNone,
                                   int threads = 1, std::int64_t inflight = 2) const;

  std::mt19937_64 random{test::fresh_seed()};
  ModelConfig config;
  Row row = random_row(config, {5, 1, 17, 2, 9}, random);
  std::uint64_t seed = random();
};

// Tests on every back end.
class RandomWeights : public ::testing::TestWithParam<Where> {
 protected:
  std::unique_ptr<TestModel> model(Recompute recompute = Recompute::kNone, int threads = 1,
                                   std::int64_t inflight = 2) const {
    return models_.model(back_end(), recompute, threads, inflight);
  }
  test::BackEnd back_end() const { return std::get<1>(GetParam()); }
  bool exact() const { return back_end() == test::BackEnd::kCpu; }

  RandomModels models_{std::get<0>(GetParam())};
  const ModelConfig& config_ = models_.config;
  const Row& row_ = models_.row;
  std::mt19937_64& random_ = models_.random;
};

}  // namespace rlcpp::model
