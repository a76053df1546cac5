// Memory of a GPU for the arena, and copies. Copies go through the legacy default stream, which waits for all
// other streams of ours (they are not created non-blocking), so a copy sees what was queued before it.
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>

#include "base/error.h"
#include "tensor/device.h"

namespace rlcpp::cuda {
namespace {

void select(Device device) {
  if (device.kind == DeviceKind::kCuda) check(cudaSetDevice(device.index), "cudaSetDevice");
}

}  // namespace

void check(int status, const char* what) {
  if (status == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(status);
  cudaGetLastError();  // an error that can be survived is not reported again by the next call
  throw runtime_failure(
      std::string("a CUDA call failed: ") + what,
      std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error),
      "run again with compute-sanitizer if it repeats; nvidia-smi shows a GPU that needs a reset");
}

Taken memory_taken(Device device) {
  // One of each GPU, written when a context is first used: the driver knows nothing of processes.
  static std::mutex lock;
  static std::map<int, std::size_t> bare;
  select(device);
  check(cudaFree(nullptr), "cudaFree");  // makes the context if there is none
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const std::lock_guard hold(lock);
  const auto [entry, first] = bare.try_emplace(device.index, total - free);
  return {total - free, entry->second, total};
}

void* allocate(std::size_t bytes, Device device) {
  select(device);
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    throw environment_error("the GPU has not enough free memory for the plan",
                            std::to_string(bytes >> 20) + " MiB are planned, " + std::to_string(free >> 20) +
                                " MiB of " + std::to_string(total >> 20) + " MiB are free",
                            "end the other programs on this GPU (nvidia-smi lists them), or lower the plan");
  }
  check(status, "cudaMalloc");
  return memory;
}

void release(void* memory, Device device) noexcept {
  // At exit the driver may already be gone; there is nobody left to tell.
  if (cudaSetDevice(device.index) == cudaSuccess) cudaFree(memory);
}

void pin(void* host, std::size_t bytes, Device device) {
  select(device);
  const cudaError_t status = cudaHostRegister(host, bytes, cudaHostRegisterPortable);
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw environment_error("the system refused to pin host memory for the GPU",
                          std::to_string(bytes >> 20) + " MiB, " + cudaGetErrorString(status),
                          "free host memory or raise the limit of locked memory (ulimit -l, the container's "
                          "settings), or leave out model.optim_cpu_offload and model.ac_offloading");
}

void unpin(void* host, Device device) noexcept {
  if (cudaSetDevice(device.index) == cudaSuccess) cudaHostUnregister(host);
}

void copy(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
  select(from_device);
  select(to_device);
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}

void fill(void* memory, Device device, std::uint8_t value, std::size_t bytes) {
  select(device);
  check(cudaMemset(memory, value, bytes), "cudaMemset");
  check(cudaStreamSynchronize(cudaStreamLegacy), "cudaMemset");
}

}  // namespace rlcpp::cuda
