// Pinned host memory and streams of their own for tensor/staging.h.
#include <cuda_runtime_api.h>

#include "tensor/staging.h"

namespace rlcpp::cuda::staging {

void* allocate_pinned(std::size_t bytes, Device device) {
  check(cudaSetDevice(device.index), "cudaSetDevice");
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "cudaHostAlloc");
  return memory;
}

void release_pinned(void* memory) noexcept {
  cudaFreeHost(memory);
}

void* make_stream(Device device) {
  check(cudaSetDevice(device.index), "cudaSetDevice");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return stream;
}

void release_stream(void* stream) noexcept {
  cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}

void copy_on(void* stream, void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, static_cast<cudaStream_t>(stream)),
        "cudaMemcpyAsync");
}

void finish(void* stream) {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}

}  // namespace rlcpp::cuda::staging
