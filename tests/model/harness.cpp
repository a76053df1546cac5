#include "model/harness.h"

#include <algorithm>

#include "ops/cast.h"

namespace rlcpp::model {
namespace {

constexpr std::int64_t kChunk = 16;

std::vector<std::int32_t> ints_of(const hub::SafetensorsFile& file, const std::string& name) {
  const std::span<const std::byte> bytes = file.bytes(file.tensors().at(name));
  std::vector<std::int32_t> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<float> floats_of(const hub::SafetensorsFile& file, const std::string& name) {
  const hub::StoredTensor& tensor = file.tensors().at(name);
  std::vector<float> values(tensor.bytes / 4);
  file.read_f32(tensor, values);
  return values;
}

}  // namespace

Row Row::document(std::size_t d) const {
  const auto begin = cu_seqlens[d], end = cu_seqlens[d + 1];
  return {{ids.begin() + begin, ids.begin() + end},
          {0, end - begin},
          {targets.begin() + begin, targets.begin() + end},
          {weights.begin() + begin, weights.begin() + end}};
}

Row random_row(const ModelConfig& config, const std::vector<std::int64_t>& lengths, std::mt19937_64& random) {
  Row row;
  row.cu_seqlens = {0};
  for (const std::int64_t length : lengths) {
    for (std::int64_t i = 0; i < length; ++i) {
      row.ids.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(config.vocab_size)));
    }
    for (std::int64_t i = 0; i < length; ++i) {
      const bool last = i + 1 == length;
      row.targets.push_back(last ? -1 : row.ids[static_cast<std::size_t>(row.cu_seqlens.back() + i + 1)]);
      row.weights.push_back(last || random() % 4 == 0 ? 0.0F
                                                      : 0.1F * static_cast<float>(random() % 1000) / 1000.0F);
    }
    row.cu_seqlens.push_back(row.cu_seqlens.back() + static_cast<std::int32_t>(length));
  }
  return row;
}

TestModel::TestModel(const ModelConfig& model, std::int64_t max_tokens, Recompute recompute, int threads,
                     test::BackEnd back_end, std::int64_t inflight)
    : config(model),
      context(back_end == test::BackEnd::kCpu ? test::cpu_context(threads) : test::gpu_context()) {
  MemoryPlan plan;
  const DType type = context.compute_type();
  const auto weight_regions = plan_weights(config, plan, MemoryUse::kWeights, "", type);
  WeightRegions master_regions;
  if (type != DType::kF32) {
    master_regions = plan_weights(config, plan, MemoryUse::kOptimizer, "master ", DType::kF32);
  }
  const auto gradient_regions = plan_weights(config, plan, MemoryUse::kGradients, "gradient ", DType::kF32);
  const auto packed_regions = plan_packed(config, context, plan);
  const auto rope_regions = plan_rope(config, plan, max_tokens);
  const auto activation_regions =
      Activations::plan(config, plan, max_tokens, recompute, type, {inflight, context.on_gpu()});
  const auto add = [&](DType of, std::initializer_list<std::int64_t> shape) {
    return plan.add(MemoryUse::kWorkspace, "test", of, shape);
  };
  const auto ids = add(DType::kI32, {max_tokens}), positions = add(DType::kI32, {max_tokens});
  const auto cu = add(DType::kI32, {max_tokens + 1}), targets = add(DType::kI32, {max_tokens});
  const auto temperatures = add(DType::kF32, {max_tokens}), coefficients = add(DType::kF32, {max_tokens});
  const auto logprobs = add(DType::kF32, {max_tokens});
  const auto chunk = add(DType::kF32, {kChunk, config.vocab_size});
  const auto all = add(DType::kF32, {max_tokens, config.vocab_size});

  arena = std::make_unique<Arena>(std::move(plan), context.device);
  arena->poison_all();
  weights = make_weight_set(config, *arena, weight_regions);
  masters = type == DType::kF32 ? weights : make_weight_set(config, *arena, master_regions);
  gradients = all_gradients_ = make_weight_set(config, *arena, gradient_regions);
  packed = make_packed_set(config, *arena, packed_regions);
  rope = make_rope(config, *arena, rope_regions);
  activations = std::make_unique<Activations>(context, config, *arena, activation_regions);
  ids_ = (*arena)[ids];
  positions_ = (*arena)[positions];
  cu_ = (*arena)[cu];
  targets_ = (*arena)[targets];
  temperatures_ = (*arena)[temperatures];
  coefficients_ = (*arena)[coefficients];
  logprobs_ = (*arena)[logprobs];
  dhidden_ = (*arena)[activation_regions.dhidden];
  chunk_ = (*arena)[chunk];
  all_logits_ = (*arena)[all];
}

void TestModel::pack() {
  if (weights.flat.front().raw() != masters.flat.front().raw()) {
    for (std::size_t i = 0; i < weights.flat.size(); ++i) {
      ops::cast(context, weights.flat[i], masters.flat[i]);
    }
  }
  pack_all(context, packed, weights);
}

PackedBatch TestModel::batch(const Row& row) const {
  put(ids_, row.ids);
  put(cu_, row.cu_seqlens);
  std::int64_t longest = 0;
  std::vector<std::int32_t> positions(row.ids.size());
  for (std::size_t d = 0; d < row.documents(); ++d) {
    longest = std::max<std::int64_t>(longest, row.cu_seqlens[d + 1] - row.cu_seqlens[d]);
    for (std::int32_t i = row.cu_seqlens[d]; i < row.cu_seqlens[d + 1]; ++i) {
      positions[static_cast<std::size_t>(i)] = i - row.cu_seqlens[d];
    }
  }
  put(positions_, positions);
  return {ids_.rows(0, row.tokens()),
          positions_.rows(0, row.tokens()),
          {cu_.rows(0, static_cast<std::int64_t>(row.cu_seqlens.size())), longest}};
}

Tensor TestModel::run(const Row& row) {
  return forward(context, config, weights, packed, rope, batch(row), *activations);
}

ops::HeadInputs TestModel::head(const Row& row, const Tensor& hidden) const {
  put(targets_, row.targets);
  put(temperatures_, std::vector<float>(row.ids.size(), 1.0F));
  return {
      hidden, weights.head, packed.head, targets_.rows(0, row.tokens()), temperatures_.rows(0, row.tokens()),
      chunk_};
}

std::vector<float> TestModel::logits(const Row& row, const Tensor& hidden) {
  const ops::HeadInputs in = head(row, hidden);
  const Tensor out = all_logits_.rows(0, row.tokens());
  ops::head_logits(context, out, hidden, in.w, in.packed, in.temperatures);
  return copy_of(out);
}

double TestModel::loss_of(const Row& row) const {
  const std::vector<float> logprobs = copy_of(logprobs_.rows(0, row.tokens()));
  double sum = 0;
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    if (row.targets[i] >= 0) sum -= double{row.weights[i]} * logprobs[i];
  }
  return sum;
}

double TestModel::loss(const Row& row) {
  ops::head_logprobs(context, logprobs_.rows(0, row.tokens()), {}, head(row, run(row)));
  return loss_of(row);
}

double TestModel::loss_and_gradients(const Row& row, bool accumulate) {
  if (!accumulate) {
    for (const Tensor& gradient : all_gradients_.flat) ops::zero(context, gradient);
  }
  const Tensor hidden = run(row);
  const Tensor dhidden = dhidden_.rows(0, row.tokens());
  std::vector<float> coefficients = row.weights;
  for (float& c : coefficients) c = -c;
  put(coefficients_, coefficients);
  ops::head_fused(context, logprobs_.rows(0, row.tokens()), {}, dhidden, gradients.head,
                  coefficients_.rows(0, row.tokens()), head(row, hidden));
  backward(context, config, weights, packed, rope, batch(row), *activations, dhidden, gradients);
  return loss_of(row);
}

void TestModel::freeze(const std::vector<bool>& trained) {
  gradients = all_gradients_;
  const auto drop = [&](Tensor& place) {
    for (std::size_t i = 0; i < trained.size(); ++i) {
      if (!trained[i] && place.raw() == all_gradients_.flat[i].raw()) place = Tensor();
    }
  };
  for (Tensor& tensor : gradients.flat) drop(tensor);
  drop(gradients.embedding);
  drop(gradients.head);
  drop(gradients.final_norm);
  for (LayerTensors& g : gradients.layers) {
    for (Tensor* place : {&g.input_norm, &g.qkv, &g.qkv_bias, &g.q_norm, &g.k_norm, &g.out, &g.out_bias,
                          &g.post_norm, &g.gate_up, &g.gate_up_bias, &g.down, &g.down_bias}) {
      if (!place->empty()) drop(*place);
    }
  }
}

std::vector<float> flat_gradients(const TestModel& model) {
  std::vector<float> all;
  for (const Tensor& gradient : model.gradients.flat) {
    if (gradient.empty()) continue;
    const std::vector<float> values = copy_of(gradient);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::unique_ptr<TestModel> RandomModels::model(test::BackEnd back_end, Recompute recompute, int threads,
                                               std::int64_t inflight) const {
  ModelConfig wide = config;
  wide.initializer_range = 0.15;
  auto made = std::make_unique<TestModel>(wide, row.tokens(), recompute, threads, back_end, inflight);
  init_random(wide, made->masters, seed);
  std::mt19937_64 noise(seed);
  for (const Tensor& tensor : made->masters.flat) {
    HostFloats host(tensor);
    for (float& value : host.values()) {
      if (tensor.rank() == 1) value += 0.2F * (static_cast<float>(noise() % 2001) / 1000.0F - 1);
      value = bf16_to_f32(f32_to_bf16(value));
    }
    host.store();
  }
  made->pack();
  return made;
}

Golden::Golden(const std::string& name)
    : dir(test::data_path("model/" + name)), config(load_config(dir)), file_(dir + "/golden.safetensors") {
  row.ids = ints_of(file_, "ids");
  row.cu_seqlens = ints_of(file_, "cu_seqlens");
  row.targets = ints_of(file_, "targets");
  row.weights = floats_of(file_, "weights");
  logits = floats_of(file_, "logits");
  loss = floats_of(file_, "loss").at(0);
}

std::vector<float> Golden::gradient(const std::string& hf_name) const {
  return floats_of(file_, "grad." + hf_name);
}

}  // namespace rlcpp::model
