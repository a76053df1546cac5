// Backward of attention over packed documents for Hopper: the same bits every time, scratch of a few values a
// token, any documents. Two kernels, each of which computes the probabilities again: one walks over the keys
// for dq, one over the queries for dk and dv, so that nothing is added by several blocks. Seven products
// instead of the five of a kernel that adds dq from everywhere, all on wgmma with probabilities in registers.
#pragma once

#include "ops/cuda/attention_simple.h"
#include "ops/cuda/runtime_cuda.h"

namespace rlcpp::ops::cuda {

// True if the kernels are there (hopper_backward_has in attention_cuda.h) and take this call, whose rows they
// must be able to address.
bool hopper_backward_takes(const SimpleAttention& call);

// As simple_attention_backward; `scratch` has hopper_backward_scratch bytes, call.delta is not used.
void hopper_attention_backward(cudaStream_t stream, const SimpleAttention& call, void* scratch);

}  // namespace rlcpp::ops::cuda
