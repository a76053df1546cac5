// Kernels that begin before the one in front of them has ended ("programmatic dependent launch" of sm_90 and
// later; elsewhere these do nothing and are not launched so).
#pragma once

#include "ops/cuda/launch.cuh"

namespace rlcpp::ops::cuda {

// Every kernel that is launched so calls both, in all threads: first says that the next one may begin once
// all blocks have come here, second waits until the one in front has ended and what it wrote can be read. By
// induction all before it have ended as well.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

struct OverlappedLaunch {
  unsigned blocks = 0, threads = 0, cluster = 1;
  std::size_t bytes = 0;  // of shared memory, beyond the kernel's own
};
template <class Args>
void launch_overlapped(const Context& ctx, void (*kernel)(Args), const OverlappedLaunch& how,
                       const Args& args, const char* name) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {how.cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = how.blocks;
  config.blockDim = how.threads;
  config.dynamicSmemBytes = how.bytes;
  config.stream = stream_of(ctx);
  config.attrs = attributes;
  config.numAttrs = how.cluster > 1 ? 2 : 1;
  rlcpp::cuda::check(cudaLaunchKernelEx(&config, kernel, args), name);
}

}  // namespace rlcpp::ops::cuda
