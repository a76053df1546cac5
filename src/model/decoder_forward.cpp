#include <cmath>

#include "model/decoder_block.h"
#include "model/fp8.h"
#include "model/offload.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/swiglu.h"

namespace rlcpp::model {

float attention_scale(const ModelConfig& config) {
  return 1.0F / std::sqrt(static_cast<float>(config.head_dim));
}

void attention_branch(const BlockContext& block, const Activations::Layer& a, const PackedBatch& batch) {
  const ModelConfig& c = block.config;
  const LayerTensors& w = block.weights;
  adapted_linear(block, &LayerAdapters::qkv, a.qkv_raw, a.norm1, w.qkv, block.packed.qkv, w.qkv_bias,
                 a.lora_qkv);
  ops::qk_norm_rope_forward(block.ctx, a.qkv, a.qk_rstd, a.qkv_raw, w.q_norm, w.k_norm, block.rope.cos,
                            block.rope.sin, batch.positions, c.qkv(), c.rms_eps);
  if (!block.again || !block.attention_kept) {
    if (block.attention != nullptr) block.attention->before_written(block.layer);
    ops::attention_forward(block.ctx, a.attn, a.lse, a.qkv, batch.documents, c.qkv(), attention_scale(c));
    if (block.attention != nullptr) block.attention->written(block.layer, a.attn.dim(0));
  }
  // The product lands in `mid` and the old residual is added to it there: an addition commutes, and no copy
  // is needed.
  adapted_linear(block, &LayerAdapters::out, a.mid, a.attn, w.out, block.packed.out, w.out_bias, a.lora_out);
  ops::add_rmsnorm_forward(block.ctx, a.norm2, a.rstd2, a.mid, a.input, w.post_norm, c.rms_eps);
}

void mlp_branch(const BlockContext& block, const Activations::Layer& a, bool keep) {
  const LayerTensors& w = block.weights;
  if (block.fp8 != nullptr) {
    adapted_linear(block, &LayerAdapters::gate_up, a.gate_up, a.norm2, w.gate_up, {}, w.gate_up_bias,
                   a.lora_gate_up);
    return ops::swiglu_forward(block.ctx, a.swiglu, a.gate_up);
  }
  const Tensor b = adapter_hidden(block, &LayerAdapters::gate_up, a.norm2, a.lora_gate_up);
  ops::linear_swiglu_forward(block.ctx, a.swiglu, a.gate_up, keep, a.norm2, w.gate_up, block.packed.gate_up,
                             w.gate_up_bias, b.empty() ? Tensor() : a.lora_gate_up, b);
}

Tensor forward(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
               const WeightSet& packed, const RopeTables& rope, const PackedBatch& batch,
               Activations& activations, BlockObserver* observer) {
  const std::int64_t tokens = batch.ids.dim(0);
  RLCPP_CHECK(tokens <= activations.max_tokens);
  const std::size_t layers = weights.layers.size();
  const Tensor last = activations.last.rows(0, tokens);
  const Tensor hidden = activations.hidden.rows(0, tokens);

  // Where a backward computes the block again, nobody reads it after this pass.
  const bool keep_gate_up =
      activations.recompute == Recompute::kNone || activations.recompute == Recompute::kSelective;
  Activations::Layer a = activations.layers[0].rows(tokens);
  Offloaded* const inputs = activations.inputs.get();
  const auto before = [&](std::size_t layer) {
    if (observer != nullptr) observer->before_weights(layer, BlockObserver::Pass::kForward);
  };
  if (!activations.fp8.input.empty()) forget_scales(ctx, activations.fp8);
  before(0);
  ops::embedding_forward(ctx, a.input, weights.embedding, batch.ids);
  ops::rmsnorm_forward(ctx, a.norm1, a.rstd1, a.input, weights.layers[0].input_norm, config.rms_eps);
  if (inputs != nullptr) inputs->written(0, tokens);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const BlockContext block = block_of(ctx, config, weights, packed, rope, layer, &activations);
    attention_branch(block, a, batch);
    mlp_branch(block, a, keep_gate_up);
    const LayerTensors& w = block.weights;
    if (layer + 1 < layers) {
      // `a.mid` stays valid below: it is read before anything of the next layer overwrites shared memory.
      const Activations::Layer next = activations.layers[layer + 1].rows(tokens);
      if (inputs != nullptr) inputs->before_written(layer + 1);
      adapted_linear(block, &LayerAdapters::down, next.input, a.swiglu, w.down, block.packed.down,
                     w.down_bias, a.lora_down);
      before(layer + 1);
      ops::add_rmsnorm_forward(ctx, next.norm1, next.rstd1, next.input, a.mid,
                               weights.layers[layer + 1].input_norm, config.rms_eps);
      if (inputs != nullptr) inputs->written(layer + 1, tokens);
      a = next;
    } else {
      adapted_linear(block, &LayerAdapters::down, last, a.swiglu, w.down, block.packed.down, w.down_bias,
                     a.lora_down);
      ops::add_rmsnorm_forward(ctx, hidden, activations.final_rstd.rows(0, tokens), last, a.mid,
                               weights.final_norm, config.rms_eps);
    }
  }
  return hidden;
}

}  // namespace rlcpp::model
