// Attention over packed documents with the order of sums of the paged cache's kernels (paged_tile.cuh): the
// trainer's forward in mode exact.
#pragma once

#include "ops/cuda/attention_simple.h"

namespace rlcpp::ops::cuda {

// True if this GPU and this build have it for the call: heads of 64 or 128, at most 16 query heads a kv head.
bool exact_attention_takes(const SimpleAttention& call);
// out and lse [rows, heads] of `call`.
void exact_attention_forward(cudaStream_t stream, const SimpleAttention& call);

}  // namespace rlcpp::ops::cuda
