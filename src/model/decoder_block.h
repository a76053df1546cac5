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
};

float attention_scale(const ModelConfig& config);

// From a.norm1 and a.input: qkv_raw, qkv, attn, lse, then mid = input + out(attn), norm2 and rstd2.
void attention_branch(const BlockContext& block, const Activations::Layer& a, const PackedBatch& batch);

// From a.norm2: gate_up and swiglu.
void mlp_branch(const BlockContext& block, const Activations::Layer& a);

}  // namespace rlcpp::model
