// The engine's forward. The same operations in the same order as decoder_forward.cpp, with the paged form of
// attention, so that the engine's hidden states are the trainer's to the last bit.
#include <algorithm>
#include <array>

#include "model/decoder_block.h"
#include "ops/embedding.h"
#include "ops/few_rows.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/swiglu.h"

namespace rlcpp::model {
namespace {

using Place = Tensor PagedScratch::*;

constexpr std::array<Place, 11> kPlaces = {
    &PagedScratch::residual, &PagedScratch::norm, &PagedScratch::rstd,   &PagedScratch::qkv,
    &PagedScratch::qk_rstd,  &PagedScratch::attn, &PagedScratch::branch, &PagedScratch::gate_up,
    &PagedScratch::swiglu,   &PagedScratch::lora, &PagedScratch::lse};

bool takes_few(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
               const PagedBatch& batch, const ops::KvPages& pages) {
  const auto adapted = [](const AdapterRows& rows) { return rows.adapters != nullptr; };
  const ops::FewRowsShape shape = {config.hidden_size, config.intermediate_size, config.qkv(),
                                   pages.page_size()};
  return batch.decodes && weights.adapters.empty() && std::ranges::none_of(batch.adapters, adapted) &&
         ops::takes_few_rows(ctx, shape, batch.ids.dim(0));
}

// The layers and the final norm for a few rows that decode.
void run_few(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
             const RopeTables& rope, const PagedBatch& batch, const std::vector<ops::KvPages>& cache,
             const PagedScratch& s) {
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const LayerTensors& w = weights.layers[layer];
    ops::norm_linear_few(ctx, s.qkv, s.residual, w.input_norm, config.rms_eps, w.qkv, w.qkv_bias);
    ops::attention_few(ctx, s.attn, s.qkv, cache[layer],
                       {w.q_norm, w.k_norm, config.rms_eps, rope.cos, rope.sin, batch.positions, batch.slots,
                        batch.sequence_of, batch.block_tables, attention_scale(config)},
                       config.qkv());
    ops::linear_add_few(ctx, s.residual, s.attn, w.out, w.out_bias);
    ops::norm_linear_swiglu_few(ctx, s.swiglu, s.residual, w.post_norm, config.rms_eps, w.gate_up,
                                w.gate_up_bias);
    ops::linear_add_few(ctx, s.residual, s.swiglu, w.down, w.down_bias);
  }
  ops::rmsnorm_forward(ctx, s.norm, s.rstd, s.residual, weights.final_norm, config.rms_eps);
}

}  // namespace

PagedScratchRegions plan_paged_scratch(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens,
                                       DType type, std::int64_t adapter_columns) {
  const std::int64_t columns = std::max(adapter_width(config), adapter_columns);
  const std::int64_t h = config.hidden_size;
  const auto add = [&](const char* name, std::int64_t width) {
    return plan.add(MemoryUse::kWorkspace, name, type, {max_tokens, width});
  };
  return {{add("engine residual", h), add("engine norm", h),
           plan.add(MemoryUse::kWorkspace, "engine rstd", DType::kF32, {max_tokens}),
           add("engine qkv", config.qkv().width()),
           config.qk_norm ? plan.add(MemoryUse::kWorkspace, "engine qk rstd", DType::kF32,
                                     {max_tokens, config.num_heads + config.num_kv_heads})
                          : RegionId{},
           add("engine attention", config.num_heads * config.head_dim), add("engine branch", h),
           add("engine gate_up", 2 * config.intermediate_size),
           add("engine swiglu", config.intermediate_size),
           columns > 0 ? add("engine adapters", columns) : RegionId{},
           type == DType::kF32
               ? RegionId{}
               : plan.add(MemoryUse::kWorkspace, "engine lse", DType::kF32, {max_tokens, config.num_heads})}};
}

PagedScratch make_paged_scratch(const ModelConfig&, const Arena& arena, const PagedScratchRegions& regions) {
  PagedScratch scratch;
  for (std::size_t i = 0; i < kPlaces.size(); ++i) {
    if (const RegionId id = regions.regions.at(i); id.index >= 0) scratch.*kPlaces[i] = arena[id];
  }
  return scratch;
}

Tensor forward_paged(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
                     const WeightSet& packed, const RopeTables& rope, const PagedBatch& batch,
                     const std::vector<ops::KvPages>& cache, PagedScratch& scratch) {
  const std::int64_t tokens = batch.ids.dim(0);
  RLCPP_CHECK(tokens <= scratch.residual.dim(0) && cache.size() == weights.layers.size());
  PagedScratch s;
  for (const Place place : kPlaces) {
    if (!(scratch.*place).empty()) s.*place = (scratch.*place).rows(0, tokens);
  }

  ops::embedding_forward(ctx, s.residual, weights.embedding, batch.ids);
  if (takes_few(ctx, config, weights, batch, cache.front())) {
    run_few(ctx, config, weights, rope, batch, cache, s);
    return s.norm;
  }
  ops::rmsnorm_forward(ctx, s.norm, s.rstd, s.residual, weights.layers[0].input_norm, config.rms_eps);
  const auto product = [&](const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                           const Tensor& w, const Tensor& p, const Tensor& bias) {
    mixed_linear(block, place, y, x, w, p, bias, s.lora, batch.adapters);
  };
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const BlockContext block = block_of(ctx, config, weights, packed, rope, layer, nullptr);
    const LayerTensors& w = weights.layers[layer];
    const LayerTensors& p = packed.layers[layer];
    product(block, &LayerAdapters::qkv, s.qkv, s.norm, w.qkv, p.qkv, w.qkv_bias);
    ops::qk_norm_rope_forward(ctx, s.qkv, s.qk_rstd, s.qkv, w.q_norm, w.k_norm, rope.cos, rope.sin,
                              batch.positions, config.qkv(), config.rms_eps);
    ops::kv_write(ctx, cache[layer], s.qkv, batch.slots, config.qkv());
    if (const WholeDocuments& whole = batch.whole; whole.rows > 0) {
      ops::attention_forward(ctx, s.attn.rows(whole.first, whole.rows), s.lse.rows(0, whole.rows),
                             s.qkv.rows(whole.first, whole.rows), whole.documents, config.qkv(),
                             attention_scale(config));
    }
    ops::attention_paged(ctx, s.attn, s.qkv, cache[layer], batch.positions, batch.sequence_of,
                         batch.block_tables, config.qkv(), attention_scale(config), batch.work);
    product(block, &LayerAdapters::out, s.branch, s.attn, w.out, p.out, w.out_bias);
    ops::add_rmsnorm_forward(ctx, s.norm, s.rstd, s.residual, s.branch, w.post_norm, config.rms_eps);

    product(block, &LayerAdapters::gate_up, s.gate_up, s.norm, w.gate_up, p.gate_up, w.gate_up_bias);
    ops::swiglu_forward(ctx, s.swiglu, s.gate_up);
    product(block, &LayerAdapters::down, s.branch, s.swiglu, w.down, p.down, w.down_bias);
    const bool more = layer + 1 < weights.layers.size();
    ops::add_rmsnorm_forward(ctx, s.norm, s.rstd, s.residual, s.branch,
                             more ? weights.layers[layer + 1].input_norm : weights.final_norm,
                             config.rms_eps);
  }
  return s.norm;
}

}  // namespace rlcpp::model
