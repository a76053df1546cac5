// Products with a weight matrix, HF layout: w [N, K], one row an output feature.
// exact: y[m][n] is one chain of fused multiply-adds over k = 0..K-1 starting from 0 (then + bias[n], then +
// old y if accumulate), whatever M is, so a row's result does not depend on the other rows, on tiles or on
// threads.
#pragma once

#include <string>
#include <vector>

#include "ops/context.h"

namespace rlcpp::ops {

// The layout that the forward kernel reads fastest. On the CPU: panels of output features. Made once a weight
// version, used by trainer and engine; results are the same bits with and without it.
std::int64_t packed_weight_size(const Context& ctx, std::int64_t n,
                                std::int64_t k);  // elements of w's dtype; 0: none
void pack_weight(const Context& ctx, const Tensor& packed, const Tensor& w);

// From now on each product measures the algorithms that its library proposes the first time its shape is met,
// on the GPU's real operands, and keeps the fastest in a file by GPU, library and driver (~/.cache/rlcpp);
// later runs read it. Nothing on the CPU.
void measure_products(const Context& ctx);
// What went wrong with that file or a measurement since the last call, one sentence each; results are not
// affected.
std::vector<std::string> take_product_warnings(const Context& ctx);

// y [M, N] = x [M, K] w^T (+ bias [N]) (+ y if accumulate). bias and packed may be empty. On CUDA y and dx
// are bf16: with accumulate the product is rounded before it is added, and the sum is rounded again, as
// cuBLASLt does it.
void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& packed, const Tensor& bias, bool accumulate = false);

// The backward products are chains of fused multiply-adds in order too; with accumulate the chain starts from
// the old value. So gradients of weights accumulated over micro-batches are the bits of one long batch.

// dx [M, K] = dy [M, N] w (+ dx if accumulate); the chain runs over n.
void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate);

// dw [N, K] = dy^T x (+ dw if accumulate); the chain runs over the rows m.
void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate);

// db [N] = sum over rows of dy (+ db if accumulate); rows are added in order.
void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate);

}  // namespace rlcpp::ops
