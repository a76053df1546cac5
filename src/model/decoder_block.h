// The halves of a decoder block, shared by forward and by the backward that computes them again.
#pragma once

#include "model/decoder.h"

namespace rlcpp::model {

// What one block runs with.
struct BlockContext {
  const ops::Context& ctx;
  const ModelConfig& config;
  const LayerTensors& weights;
  const LayerTensors& packed;
  const RopeTables& rope;
  const LayerAdapters* adapters = nullptr;  // null: none
  // With dropout (the trainer's forward): what is drawn, whatever layer this is, and memory for an input.
  ops::Dropout dropout = {};
  Tensor dropped = {};
  std::uint64_t layer = 0;
  const Fp8Memory* fp8 = nullptr;  // null: products are in the compute type
  bool again = false;              // the backward computes the block again
  bool attention_kept = false;     // attention's output too, so it is not
  Offloaded* attention = nullptr;  // where it leaves the device
};
// Layer `layer` of a model. `activations` may be null: no dropout.
BlockContext block_of(const ops::Context& ctx, const ModelConfig& config, const WeightSet& weights,
                      const WeightSet& packed, const RopeTables& rope, std::size_t layer,
                      const Activations* activations);

// Which of a block's products this is: 0 to 3, in the order of the forward.
std::uint64_t index_of(AdapterPlace place);

// [rows, width] at the start of `memory`, whatever its own shape.
inline Tensor columns(const Tensor& memory, std::int64_t rows, std::int64_t width) {
  return Tensor(memory.raw(), memory.dtype(), {rows, width}, memory.device());
}

// y [M, out] = x w^T + bias, and B A x if the product `place` has an adapter; h [M, targets * r] becomes A x.
void adapted_linear(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& packed, const Tensor& bias, const Tensor& h);
// The same h alone; the B of its pair, or empty without an adapter.
Tensor adapter_hidden(const BlockContext& block, AdapterPlace place, const Tensor& x, const Tensor& h);
// adapted_linear() of a batch whose rows read the adapters that `rows` names (all M of them in order; empty:
// the block's); `memory` has room for A x of any of them.
void mixed_linear(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                  const Tensor& w, const Tensor& packed, const Tensor& bias, const Tensor& memory,
                  std::span<const AdapterRows> rows);
// dw += dy^T x and db += column sums of dy, where they are not empty.
void product_gradients(const BlockContext& block, AdapterPlace place, const Tensor& dw, const Tensor& db,
                       const Tensor& dy, const Tensor& x);
// From dy [M, out], x and h of adapted_linear: dh [M, targets * r] becomes the gradient of h, and g's tensors
// accumulate.
void adapter_gradients(const BlockContext& block, AdapterPlace place, const AdapterPair& g, const Tensor& dh,
                       const Tensor& dy, const Tensor& x, const Tensor& h);
// Once x's memory may be overwritten: dx [M, in] = dy w, and what the adapter adds to it, from dh of
// adapter_gradients; in FP8 behind product_gradients() of the same dy.
void adapted_backward_input(const BlockContext& block, AdapterPlace place, const Tensor& dx, const Tensor& dy,
                            const Tensor& w, const Tensor& dh);

float attention_scale(const ModelConfig& config);

// From a.norm1 and a.input: qkv_raw, qkv, attn, lse, then mid = input + out(attn), norm2 and rstd2.
void attention_branch(const BlockContext& block, const Activations::Layer& a, const PackedBatch& batch);

// From a.norm2: swiglu and, with `keep`, gate_up, whose memory is otherwise left in any state.
void mlp_branch(const BlockContext& block, const Activations::Layer& a, bool keep);

}  // namespace rlcpp::model
