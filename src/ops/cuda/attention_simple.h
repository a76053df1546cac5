// Our own kernels for attention over packed documents: any head_dim up to 512, any documents, no scratch, the
// same bits every time. Products on the tensor cores (bf16 with f32 sums), softmax in f32. They stand in
// where cuDNN is absent or has no deterministic algorithm, and check it in the tests.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/vector.cuh"
#include "ops/rope.h"

namespace rlcpp::ops::cuda {

struct SimpleAttention {
  const bf16* qkv = nullptr;                 // [rows, width]
  const std::int32_t* cu_seqlens = nullptr;  // [documents + 1]
  std::int64_t documents = 0;
  std::int64_t rows = 0;
  QkvShape shape;
  float scale = 1;
  bf16* out = nullptr;          // [rows, num_heads * head_dim]
  float* lse = nullptr;         // [rows, num_heads], or as lse_length says
  const bf16* dout = nullptr;   // the backward's, as out
  float* delta = nullptr;       // [rows, num_heads], scratch of the backward
  bf16* dqkv = nullptr;         // [rows, width]
  std::int64_t lse_length = 0;  // not 0: lse is [rows / lse_length, num_heads, lse_length], as cuDNN wrote it
};

// Writes out and lse.
void simple_attention_forward(cudaStream_t stream, const SimpleAttention& call);
// Reads out, lse and dout; writes delta and all of dqkv.
void simple_attention_backward(cudaStream_t stream, const SimpleAttention& call);

}  // namespace rlcpp::ops::cuda
