#include "kernels.h"

#include <cuda_bf16.h>

#include "common.h"

namespace gpu_facts {
namespace {

__global__ void tiny(float* data) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();  // The next kernel may begin its prologue now...
  cudaGridDependencySynchronize();            // ...but touches nothing before this one has ended.
#endif
  data[blockIdx.x * 128 + threadIdx.x] += 1.0f;
}

__global__ void clocks(std::uint64_t* out) {
  std::uint64_t begin_ns, end_ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin_ns));
  const long long begin = clock64();
  float x = static_cast<float>(threadIdx.x);
  for (int i = 0; i < 20'000'000; ++i) x = x * 1.0000001f + 1e-7f;
  const long long end = clock64();
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(end_ns));
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    out[0] = static_cast<std::uint64_t>(end - begin);
    out[1] = end_ns - begin_ns;
  }
  if (x == 12345.0f) out[2] = 1;  // keeps the loop
}

// One block of 128 threads a sample, one thread a component of the head; scores are summed in f32 in token
// order.
__global__ void attention_row(const __nv_bfloat16* qkv, std::int64_t row, int q_heads, int kv_heads,
                              const int* token, const int* head, const int* begin, float* out) {
  const int sample = blockIdx.x, d = threadIdx.x;
  const int kv = head[sample] / (q_heads / kv_heads);
  const float q = __bfloat162float(qkv[token[sample] * row + head[sample] * 128 + d]);
  __shared__ float parts[4];
  float largest = -INFINITY, sum = 0, o = 0;
  for (int t = begin[sample]; t <= token[sample]; ++t) {
    float s = q * __bfloat162float(qkv[t * row + (q_heads + kv) * 128 + d]);
    for (int step = 16; step > 0; step /= 2) s += __shfl_xor_sync(0xffffffffu, s, step);
    if (d % 32 == 0) parts[d / 32] = s;
    __syncthreads();
    s = (parts[0] + parts[1] + parts[2] + parts[3]) * rsqrtf(128.0f);
    __syncthreads();
    const float next = fmaxf(largest, s);
    const float keep = expf(largest - next), weight = expf(s - next);
    sum = sum * keep + weight;
    o = o * keep + weight * __bfloat162float(qkv[t * row + (q_heads + kv_heads + kv) * 128 + d]);
    largest = next;
  }
  out[sample * 128 + d] = o / sum;
}

}  // namespace

void tiny_kernel(float* data, int blocks, bool dependent, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(128);
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  check(cudaLaunchKernelEx(&config, tiny, data), "tiny kernel");
}

void clock_kernel(std::uint64_t* out, int blocks, cudaStream_t stream) {
  clocks<<<static_cast<unsigned>(blocks), 128, 0, stream>>>(out);
  check(cudaGetLastError(), "clock kernel");
}

void attention_rows(const void* qkv, std::int64_t row, int q_heads, int kv_heads, const int* token,
                    const int* head, const int* begin, int samples, float* out, cudaStream_t stream) {
  attention_row<<<static_cast<unsigned>(samples), 128, 0, stream>>>(
      static_cast<const __nv_bfloat16*>(qkv), row, q_heads, kv_heads, token, head, begin, out);
  check(cudaGetLastError(), "attention_rows");
}

}  // namespace gpu_facts
