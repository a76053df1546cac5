// A model with everything that forward and backward need, in one poisoned arena, and the golden models of
// tests/data/model (tools/oracle_models.py).
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "hub/safetensors.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "ops/head.h"
#include "support.h"

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
  TestModel(const ModelConfig& config, std::int64_t max_tokens, Recompute recompute, int threads);

  // Hidden states of the row [M, H].
  Tensor run(const Row& row);
  // Logits [M, V] of the hidden states of the last run.
  std::vector<float> logits(const Row& row, const Tensor& hidden);
  // Forward, head and backward; gradients are zeroed first unless `accumulate`. Frozen parameters (false in
  // `trained`, in the order of parameter_list) have no gradient tensor.
  double loss_and_gradients(const Row& row, bool accumulate = false);
  double loss(const Row& row);
  void freeze(const std::vector<bool>& trained);
  void pack() { pack_all(context, packed, weights); }

  ModelConfig config;
  ThreadPool pool;
  ops::Context context;
  std::unique_ptr<Arena> arena;
  WeightSet weights, packed, gradients;
  RopeTables rope;
  std::unique_ptr<Activations> activations;
  PackedBatch batch(const Row& row) const;

 private:
  ops::HeadInputs head(const Row& row, const Tensor& hidden) const;
  double loss_of(const Row& row) const;

  WeightSet all_gradients_;
  Tensor ids_, positions_, cu_, targets_, temperatures_, coefficients_, logprobs_, dhidden_, chunk_,
      all_logits_;
};

// Every bit of two tensors or vectors.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
inline std::vector<float> copy_of(const Tensor& tensor) {
  return {tensor.f32(), tensor.f32() + tensor.size()};
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

inline std::string test_name(const ::testing::TestParamInfo<std::string>& model) {
  std::string name = model.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Tests of a golden model's architecture with fresh weights on a fresh packed row.
class RandomWeights : public ::testing::TestWithParam<std::string> {
 protected:
  // Norms and biases are away from one and zero; the weights are the same for every model of one test.
  std::unique_ptr<TestModel> model(Recompute recompute = Recompute::kNone, int threads = 1);

  std::mt19937_64 random_{test::fresh_seed()};
  ModelConfig config_ = load_config(std::string(RLCPP_TEST_DATA "/model/") + GetParam());
  Row row_ = random_row(config_, {5, 1, 17, 2, 9}, random_);
  std::uint64_t seed_ = random_();
};

}  // namespace rlcpp::model
