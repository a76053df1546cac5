#include <algorithm>

#include "model/decoder_block.h"
#include "model/offload.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/swiglu.h"

namespace rlcpp::model {
namespace {

// Computes again what the policy did not keep, with the calls of the forward and hence its bits.
void recompute_layer(const BlockContext& block, const Activations::Layer& a, const PackedBatch& batch,
                     Recompute recompute) {
  const ModelConfig& c = block.config;
  const LayerTensors& w = block.weights;
  if (recompute == Recompute::kNone) return;
  ops::rmsnorm_forward(block.ctx, a.norm1, a.rstd1, a.input, w.input_norm, c.rms_eps);
  if (recompute != Recompute::kSelective) {
    attention_branch(block, a, batch);
    mlp_branch(block, a, true);
    adapter_hidden(block, &LayerAdapters::down, a.swiglu, a.lora_down);
    return;
  }
  if (c.qk_norm) {
    ops::qk_norm_rope_forward(block.ctx, a.qkv, a.qk_rstd, a.qkv_raw, w.q_norm, w.k_norm, block.rope.cos,
                              block.rope.sin, batch.positions, c.qkv(), c.rms_eps);
  }
  ops::rmsnorm_forward(block.ctx, a.norm2, a.rstd2, a.mid, w.post_norm, c.rms_eps);
  ops::swiglu_forward(block.ctx, a.swiglu, a.gate_up);
}

// A temporary of `width` columns: in `memory`, or where nobody planned one for it, in the place of `values`.
Tensor temporary(const Tensor& memory, const Tensor& values, std::int64_t width) {
  const std::int64_t rows = values.dim(0);
  if (!memory.empty()) return memory.rows(0, rows);
  RLCPP_CHECK(values.dim(1) >= width);
  return columns(values, rows, width);
}

// Gradients on their way through a block, [M, ...] each.
struct Flow {
  Tensor residual;  // of the residual stream: after the block on entry, before it on return
  Tensor branch;    // of a norm's output
  Tensor attn, qkv, delta;
  Tensor lora;  // of A x
};

// `below`: something under this block is trained, so the gradient of its input is needed.
void block_backward(const BlockContext& block, const Activations::Layer& a, const PackedBatch& batch,
                    const LayerTensors& g, const LayerAdapters& lora, const Flow& d, bool below) {
  const ops::Context& ctx = block.ctx;
  const ModelConfig& c = block.config;
  const LayerTensors& w = block.weights;

  // residual' = mid + down(swiglu(gate_up(norm2(mid)))). Gradients of swiglu and gate_up take the place of
  // their values.
  product_gradients(block, &LayerAdapters::down, g.down, g.down_bias, d.residual, a.swiglu);
  adapter_gradients(block, &LayerAdapters::down, lora.down, d.lora, d.residual, a.swiglu, a.lora_down);
  adapted_backward_input(block, &LayerAdapters::down, a.swiglu, d.residual, w.down, d.lora);
  ops::swiglu_backward(ctx, a.gate_up, a.swiglu, a.gate_up);
  product_gradients(block, &LayerAdapters::gate_up, g.gate_up, g.gate_up_bias, a.gate_up, a.norm2);
  adapter_gradients(block, &LayerAdapters::gate_up, lora.gate_up, d.lora, a.gate_up, a.norm2, a.lora_gate_up);
  adapted_backward_input(block, &LayerAdapters::gate_up, d.branch, a.gate_up, w.gate_up, d.lora);
  ops::rmsnorm_backward(ctx, d.residual, g.post_norm, d.branch, a.mid, w.post_norm, a.rstd2, true);

  // mid = input + out(attention(rope(qkv(norm1(input))))).
  product_gradients(block, &LayerAdapters::out, g.out, g.out_bias, d.residual, a.attn);
  adapter_gradients(block, &LayerAdapters::out, lora.out, d.lora, d.residual, a.attn, a.lora_out);
  adapted_backward_input(block, &LayerAdapters::out, d.attn, d.residual, w.out, d.lora);
  ops::attention_backward(ctx, d.qkv, d.attn, a.attn, a.lse, a.qkv, d.delta, batch.documents, c.qkv(),
                          attention_scale(c));
  ops::qk_norm_rope_backward(ctx, d.qkv, g.q_norm, g.k_norm, d.qkv, a.qkv_raw, a.qk_rstd, w.q_norm, w.k_norm,
                             block.rope.cos, block.rope.sin, batch.positions, c.qkv(), c.rms_eps);
  product_gradients(block, &LayerAdapters::qkv, g.qkv, g.qkv_bias, d.qkv, a.norm1);
  adapter_gradients(block, &LayerAdapters::qkv, lora.qkv, d.lora, d.qkv, a.norm1, a.lora_qkv);
  if (!below && g.input_norm.empty()) return;
  adapted_backward_input(block, &LayerAdapters::qkv, d.branch, d.qkv, w.qkv, d.lora);
  ops::rmsnorm_backward(ctx, d.residual, g.input_norm, d.branch, a.input, w.input_norm, a.rstd1, true);
}

LayerAdapters adapters_of(const WeightSet& set, std::size_t layer) {
  return set.adapters.empty() ? LayerAdapters() : set.adapters.at(layer);
}

bool any_trained(const LayerTensors& g, const LayerAdapters& lora) {
  const std::initializer_list<const Tensor*> all = {
      &g.input_norm, &g.qkv,      &g.qkv_bias,     &g.q_norm,       &g.k_norm,    &g.out,      &g.out_bias,
      &g.post_norm,  &g.gate_up,  &g.gate_up_bias, &g.down,         &g.down_bias, &lora.qkv.a, &lora.qkv.b,
      &lora.out.a,   &lora.out.b, &lora.gate_up.a, &lora.gate_up.b, &lora.down.a, &lora.down.b};
  return std::any_of(all.begin(), all.end(), [](const Tensor* tensor) { return !tensor->empty(); });
}

// The lowest place with a trained parameter: 0 the embedding, l + 1 layer l, number of layers + 1 none of
// them.
std::size_t lowest_trained(const WeightSet& gradients) {
  if (!gradients.embedding.empty()) return 0;
  for (std::size_t layer = 0; layer < gradients.layers.size(); ++layer) {
    if (any_trained(gradients.layers[layer], adapters_of(gradients, layer))) return layer + 1;
  }
  return gradients.layers.size() + 1;
}

}  // namespace

void backward(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
              const WeightSet& packed, const RopeTables& rope, const PackedBatch& batch,
              Activations& activations, const Tensor& dhidden, const WeightSet& gradients,
              BlockObserver* observer) {
  const std::int64_t tokens = batch.ids.dim(0);
  RLCPP_CHECK(tokens <= activations.max_tokens && dhidden.dim(0) == tokens);
  RLCPP_CHECK(gradients.layers.size() == weights.layers.size());
  Flow d{activations.scratch_hidden.rows(0, tokens),
         dhidden,
         {},
         {},
         activations.delta.rows(0, tokens),
         activations.scratch_lora.empty() ? Tensor() : activations.scratch_lora.rows(0, tokens)};
  ops::rmsnorm_backward(ctx, d.residual, gradients.final_norm, dhidden, activations.last.rows(0, tokens),
                        weights.final_norm, activations.final_rstd.rows(0, tokens), false);

  const std::size_t lowest = lowest_trained(gradients);
  Offloaded *const inputs = activations.inputs.get(), *const attention = activations.attention.get();
  for (std::size_t layer = weights.layers.size(); layer > 0 && layer >= lowest; --layer) {
    BlockContext block = block_of(ctx, config, weights, packed, rope, layer - 1, &activations);
    block.again = true;
    const Activations::Layer a = activations.layers[layer - 1].rows(tokens);
    if (inputs != nullptr) inputs->before_read(layer - 1);
    if (attention != nullptr) attention->before_read(layer - 1);
    if (observer != nullptr) {
      observer->before_weights(layer - 1, BlockObserver::Pass::kBackward);
      observer->before_gradients(layer - 1);
    }
    recompute_layer(block, a, batch, activations.recompute);
    d.attn = temporary(activations.scratch_attn, a.swiglu, config.num_heads * config.head_dim);
    d.qkv = temporary(activations.scratch_qkv, a.gate_up, config.qkv().width());
    block_backward(block, a, batch, gradients.layers[layer - 1], adapters_of(gradients, layer - 1), d,
                   lowest < layer);
    if (observer != nullptr) observer->after_gradients(layer - 1);
    // Of layers from the lowest trained one; the embedding needs no input.
    const std::size_t last_read = lowest > 0 ? lowest - 1 : 0;
    if (inputs != nullptr) inputs->read(layer - 1, last_read, tokens);
    if (attention != nullptr) attention->read(layer - 1, last_read, tokens);
  }
  if (lowest == 0) ops::embedding_backward(ctx, gradients.embedding, d.residual, batch.ids);
  if (observer != nullptr) observer->after_backward();
}

}  // namespace rlcpp::model
