// Kernels of the launch section, and the reference of the attention section.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace gpu_facts {

// Adds one to 128 floats a block. With `dependent` it is launched with programmatic stream serialisation and
// waits for the kernel before it inside.
void tiny_kernel(float* data, int blocks, bool dependent, cudaStream_t stream);

// Counts clock cycles and nanoseconds while every multiprocessor multiplies: out[0] cycles, out[1]
// nanoseconds.
void clock_kernel(std::uint64_t* out, int blocks, cudaStream_t stream);

// One row of causal attention in f32 for each sample: out[s][0..127] for token[s], head[s], whose document
// begins at begin[s]. qkv is packed bf16 with `row` values a token.
void attention_rows(const void* qkv, std::int64_t row, int q_heads, int kv_heads, const int* token,
                    const int* head, const int* begin, int samples, float* out, cudaStream_t stream);

}  // namespace gpu_facts
