// Low-rank adapters beside the weights (LoRA; Hu et al. 2021): the base is frozen, and for each target A and
// B are trained. Weights are stored fused, and so are adapters: the A of a product's targets are stacked, and
// B is read in the expanded form of ops/adapter.h, so that an adapted product is three products, whatever it
// fuses.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "model/weights.h"
#include "ops/adapter.h"

namespace rlcpp::model {

// One fused product with at least one target; the same in every layer.
struct AdapterShape {
  const char* name = "";  // "qkv"
  AdapterPlace place = nullptr;
  std::int64_t in = 0, out = 0;  // of the product
  ops::AdapterBlocks blocks;
  std::array<std::size_t, ops::AdapterBlocks::kMost> target = {};  // of each block, in kAdapterTargets
};
std::vector<AdapterShape> adapter_shapes(const ModelConfig& config);

// Columns of A x at most: targets * rank of the product with most targets. 0: no adapters.
std::int64_t adapter_width(const ModelConfig& config);
// Trained parameters of all adapters.
std::int64_t adapter_parameters(const ModelConfig& config);

// What is trained, in a fixed order: for each layer and product A, then B; slices are the tensors of PEFT's
// files, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".
std::vector<ParameterInfo> adapter_list(const ModelConfig& config);

// Memory of the values: f32 masters, and what the decoder reads. Where it reads f32, A is its master.
struct AdapterRegions {
  std::vector<RegionId> a, b, master_a, master_b;  // by layer and shape; master_a: none where A is its master
};
AdapterRegions plan_adapters(const ModelConfig& config, const ops::Context& ctx, MemoryPlan& plan);
// The `adapters` of a WeightSet for the decoder.
std::vector<LayerAdapters> make_adapters(const ModelConfig& config, const Arena& arena,
                                         const AdapterRegions& regions);
// The f32 masters, in the same places.
std::vector<LayerAdapters> make_adapter_masters(const ModelConfig& config, const Arena& arena,
                                                const AdapterRegions& regions);

// The tensors of a set in the order of adapter_list.
std::vector<Tensor> flat_adapters(const ModelConfig& config, const std::vector<LayerAdapters>& adapters);

// As peft starts: A uniform in +-1 / sqrt(in) (Kaiming with a = sqrt(5)), B zero. A pure function of the seed
// and the tensor's name.
void init_adapters(const ModelConfig& config, const std::vector<LayerAdapters>& masters, std::uint64_t seed);

// Makes what the decoder reads from the masters: A rounded, B expanded.
void publish_adapters(const ops::Context& ctx, const ModelConfig& config,
                      const std::vector<LayerAdapters>& adapters, const std::vector<LayerAdapters>& masters);

// `rows`, the f32 values of the HF weight `name` ("model.layers.0.self_attn.q_proj.weight", [out, in]), +=
// scale * B A, in f32. Nothing if it has no adapter.
void merge_adapter(const ModelConfig& config, const std::vector<LayerAdapters>& masters,
                   std::string_view name, std::span<float> rows);

}  // namespace rlcpp::model
