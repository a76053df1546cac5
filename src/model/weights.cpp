#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/matmul.h"

namespace rlcpp::model {
namespace {

std::vector<ParameterInfo> layer_parameters(const ModelConfig& c, std::int64_t layer) {
  const std::int64_t h = c.hidden_size, q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  const std::int64_t inner = c.intermediate_size;
  const std::string mine = fmt::format("layers.{}.", layer);
  const std::string hf = fmt::format("model.layers.{}.", layer);
  std::vector<ParameterInfo> list;
  const auto add = [&](const char* name, std::vector<std::int64_t> shape, bool product,
                       std::vector<HfSlice> slices) {
    for (HfSlice& slice : slices) slice.name = hf + slice.name;
    list.push_back({mine + name, std::move(shape), true, std::move(slices), product, layer});
  };

  add("input_norm", {h}, false, {{"input_layernorm.weight", {h}, 0}});
  add("qkv", {q + 2 * kv, h}, true,
      {{"self_attn.q_proj.weight", {q, h}, 0},
       {"self_attn.k_proj.weight", {kv, h}, q},
       {"self_attn.v_proj.weight", {kv, h}, q + kv}});
  if (c.qkv_bias) {
    add("qkv_bias", {q + 2 * kv}, false,
        {{"self_attn.q_proj.bias", {q}, 0},
         {"self_attn.k_proj.bias", {kv}, q},
         {"self_attn.v_proj.bias", {kv}, q + kv}});
  }
  if (c.qk_norm) {
    add("q_norm", {c.head_dim}, false, {{"self_attn.q_norm.weight", {c.head_dim}, 0}});
    add("k_norm", {c.head_dim}, false, {{"self_attn.k_norm.weight", {c.head_dim}, 0}});
  }
  add("out", {h, q}, true, {{"self_attn.o_proj.weight", {h, q}, 0}});
  if (c.out_bias) add("out_bias", {h}, false, {{"self_attn.o_proj.bias", {h}, 0}});
  add("post_norm", {h}, false, {{"post_attention_layernorm.weight", {h}, 0}});
  add("gate_up", {2 * inner, h}, true,
      {{"mlp.gate_proj.weight", {inner, h}, 0}, {"mlp.up_proj.weight", {inner, h}, inner}});
  if (c.mlp_bias) {
    add("gate_up_bias", {2 * inner}, false,
        {{"mlp.gate_proj.bias", {inner}, 0}, {"mlp.up_proj.bias", {inner}, inner}});
  }
  add("down", {h, inner}, true, {{"mlp.down_proj.weight", {h, inner}, 0}});
  if (c.mlp_bias) add("down_bias", {h}, false, {{"mlp.down_proj.bias", {h}, 0}});
  return list;
}

// Points the named places at `flat`, in the order of parameter_list.
void set_places(const ModelConfig& config, WeightSet& set) {
  std::size_t next = 0;
  const auto take = [&](Tensor& place) { place = set.flat.at(next++); };
  take(set.embedding);
  set.layers.resize(static_cast<std::size_t>(config.num_layers));
  for (LayerTensors& layer : set.layers) {
    take(layer.input_norm);
    take(layer.qkv);
    if (config.qkv_bias) take(layer.qkv_bias);
    if (config.qk_norm) take(layer.q_norm);
    if (config.qk_norm) take(layer.k_norm);
    take(layer.out);
    if (config.out_bias) take(layer.out_bias);
    take(layer.post_norm);
    take(layer.gate_up);
    if (config.mlp_bias) take(layer.gate_up_bias);
    take(layer.down);
    if (config.mlp_bias) take(layer.down_bias);
  }
  take(set.final_norm);
  if (config.tied) {
    set.head = set.embedding;
  } else {
    take(set.head);
  }
  RLCPP_CHECK(next == set.flat.size());
}

WeightSet set_of(const ModelConfig& config, const Arena& arena, const WeightRegions& regions) {
  WeightSet set;
  set.flat.reserve(regions.regions.size());
  for (const RegionId id : regions.regions) set.flat.push_back(id.index < 0 ? Tensor() : arena[id]);
  set_places(config, set);
  return set;
}

}  // namespace

std::vector<ParameterInfo> parameter_list(const ModelConfig& config) {
  const std::int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  std::vector<ParameterInfo> list;
  // A tied embedding is the head's weight, hence a product's.
  list.push_back(
      {"embedding", {vocab, hidden}, true, {{"model.embed_tokens.weight", {vocab, hidden}, 0}}, config.tied});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    std::vector<ParameterInfo> part = layer_parameters(config, layer);
    std::move(part.begin(), part.end(), std::back_inserter(list));
  }
  list.push_back({"final_norm", {hidden}, true, {{"model.norm.weight", {hidden}, 0}}, false});
  if (!config.tied)
    list.push_back({"head", {vocab, hidden}, true, {{"lm_head.weight", {vocab, hidden}, 0}}, true});
  return list;
}

WeightRegions plan_weights(const ModelConfig& config, MemoryPlan& plan, MemoryUse use,
                           const std::string& prefix, DType type) {
  WeightRegions regions;
  for (const ParameterInfo& info : parameter_list(config)) {
    regions.regions.push_back(
        plan.add(use, prefix + info.name, type, std::span<const std::int64_t>(info.shape)));
  }
  return regions;
}

WeightSet make_weight_set(const ModelConfig& config, const Arena& arena, const WeightRegions& regions) {
  return set_of(config, arena, regions);
}

WeightSet frozen_gradients(const ModelConfig& config) {
  WeightSet set;
  set.flat.resize(parameter_list(config).size());
  set_places(config, set);
  return set;
}

WeightRegions plan_packed(const ModelConfig& config, const ops::Context& ctx, MemoryPlan& plan) {
  WeightRegions regions;
  for (const ParameterInfo& info : parameter_list(config)) {
    const std::int64_t size = info.product ? ops::packed_weight_size(ctx, info.shape[0], info.shape[1]) : 0;
    regions.regions.push_back(
        size == 0 ? RegionId{} : plan.add(MemoryUse::kWeights, "packed " + info.name, DType::kF32, {size}));
  }
  return regions;
}

WeightSet make_packed_set(const ModelConfig& config, const Arena& arena, const WeightRegions& regions) {
  return set_of(config, arena, regions);
}

void pack_all(const ops::Context& ctx, const WeightSet& packed, const WeightSet& weights) {
  RLCPP_CHECK(packed.flat.size() == weights.flat.size());
  for (std::size_t i = 0; i < packed.flat.size(); ++i) {
    if (!packed.flat[i].empty()) ops::pack_weight(ctx, packed.flat[i], weights.flat[i]);
  }
}

}  // namespace rlcpp::model
