// Backward of attention over packed documents for Hopper: the same bits every time, scratch of a few values a
// token, any documents. Two kernels, each of which computes the probabilities again: one walks over the keys
// for dq, one over the queries for dk and dv, so that nothing is added by several blocks. Seven products
// instead of the five of a kernel that adds dq from everywhere, all on wgmma with probabilities in registers.
#pragma once

#include "ops/cuda/attention_simple.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

// True if this GPU and this build have the kernels, for heads of 64 or 128.
bool hopper_backward_has(const QkvShape& shape);
// True if they also take this call, whose rows they must be able to address.
bool hopper_backward_takes(const SimpleAttention& call);

// Bytes of scratch of a call over up to `rows` tokens.
std::size_t hopper_backward_scratch(std::int64_t rows, std::int64_t num_heads);

// As simple_attention_backward; `scratch` has the bytes of above, call.delta is not used.
void hopper_attention_backward(cudaStream_t stream, const SimpleAttention& call, void* scratch);

}  // namespace rlcpp::ops::cuda
