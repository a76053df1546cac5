// The products of a block in FP8 (ops/fp8.h), for models that are trained with it: every product with a
// weight of a block, forward and backward, on values quantised in the same step; weights, activations,
// gradients of weights and everything else keep their types.
#pragma once

#include "model/decoder_block.h"

namespace rlcpp::model {

// Throws bad_input if products of this model have sizes that FP8 cannot have, or `ctx` cannot do them.
void require_fp8(const ops::Context& ctx, const ModelConfig& config);

Fp8Regions plan_fp8(const ModelConfig& config, MemoryPlan& plan, std::int64_t max_tokens);
Fp8Memory make_fp8(const Arena& arena, const Fp8Regions& regions);
// Before a forward: no largest value is known.
void forget_scales(const ops::Context& ctx, const Fp8Memory& memory);

// y [M, N] = x w^T (+ bias); scales are those of the forward where the block is computed again.
void fp8_forward(const BlockContext& block, AdapterPlace place, const Tensor& y, const Tensor& x,
                 const Tensor& w, const Tensor& bias);
// Quantises dy [M, N]; dw [N, K] += dy^T x, if it is not empty.
void fp8_backward_weight(const BlockContext& block, AdapterPlace place, const Tensor& dw, const Tensor& dy,
                         const Tensor& x);
// dx [M, K] = dy w, dy [M, N] the one that fp8_backward_weight() has quantised last. dx may be its memory.
void fp8_backward_input(const BlockContext& block, AdapterPlace place, const Tensor& dx, const Tensor& dy,
                        const Tensor& w);

}  // namespace rlcpp::model
