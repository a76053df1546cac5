// The parameters of a model: named as in HF checkpoints, planned in an arena, stored fused where the forward
// reads them fused (q, k and v; gate and up). One WeightSet holds values; another of the same layout holds
// gradients or moments.
#pragma once

#include <string>
#include <vector>

#include "model/config.h"
#include "ops/context.h"
#include "tensor/arena.h"

namespace rlcpp::model {

// One HF tensor: rows [row, row + shape[0]) of a stored tensor.
struct HfSlice {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;
  std::int64_t row = 0;
};

// One stored parameter, e.g. the fused qkv projection, and the HF tensors inside it.
struct ParameterInfo {
  std::string name;  // "layers.0.qkv"
  std::vector<std::int64_t> shape;
  bool decay = true;  // weight decay applies (all parameters, as in the reference)
  std::vector<HfSlice> slices;
  bool product = false;     // used as w of linear_forward: has a packed form
  std::int64_t layer = -1;  // -1: of no layer
};

// In a fixed order that every file and every flat buffer shares. A tied head does not appear.
std::vector<ParameterInfo> parameter_list(const ModelConfig& config);

struct LayerTensors {
  Tensor input_norm, qkv, qkv_bias, q_norm, k_norm, out, out_bias, post_norm, gate_up, gate_up_bias, down,
      down_bias;
};

// The low-rank adapter of one fused product (model/adapters.h); empty where it has none.
struct AdapterPair {
  Tensor a;  // [targets * r, in]: the A of its targets, stacked
  Tensor b;  // masters: [rows, r], their B stacked; what the decoder reads, and its gradient: expanded
};
struct LayerAdapters {
  AdapterPair qkv, out, gate_up, down;
};
using AdapterPlace = AdapterPair LayerAdapters::*;

// Tensors by place, and the same in the order of parameter_list (`flat`). Views only.
struct WeightSet {
  Tensor embedding;  // [V, H]
  std::vector<LayerTensors> layers;
  Tensor final_norm;  // [H]
  Tensor head;        // [V, H]; the same view as embedding when tied
  std::vector<Tensor> flat;
  std::vector<LayerAdapters> adapters;  // one a layer, or none at all; not in `flat`
};

// Adds every parameter to `plan`; make_weight_set() builds the views once the arena exists.
struct WeightRegions {
  std::vector<RegionId> regions;
};
WeightRegions plan_weights(const ModelConfig& config, MemoryPlan& plan, MemoryUse use,
                           const std::string& prefix, DType type);
WeightSet make_weight_set(const ModelConfig& config, const Arena& arena, const WeightRegions& regions);
// Gradients of a model whose parameters are all frozen: every tensor is empty.
WeightSet frozen_gradients(const ModelConfig& config);

// The packed forms of all product weights (see ops/matmul.h); tensors are empty where the back end wants
// none.
WeightRegions plan_packed(const ModelConfig& config, const ops::Context& ctx, MemoryPlan& plan);
WeightSet make_packed_set(const ModelConfig& config, const Arena& arena, const WeightRegions& regions);
void pack_all(const ops::Context& ctx, const WeightSet& packed, const WeightSet& weights);

// Normal(0, initializer_range) for matrices, ones for norms, zeros for biases; a pure function of the seed
// and the parameter's HF name, so it depends neither on the layout nor on the threads of `pool` (may be null:
// one thread), nor on the machine: the transcendental functions are our own.
void init_random(const ModelConfig& config, const WeightSet& weights, std::uint64_t seed,
                 ThreadPool* pool = nullptr);

// Elements [first, first + part.size()) of the parameter `info` with the bits that init_random() gives them.
// part: flat, f32 or bf16, on any device.
void init_random_part(const ModelConfig& config, const ParameterInfo& info, std::int64_t first,
                      const Tensor& part, std::uint64_t seed, ThreadPool* pool = nullptr);

}  // namespace rlcpp::model
