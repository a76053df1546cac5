// Reductions over the lanes of a warp and the warps of a block. The order is a fixed tree: the result depends
// on the values and the size of the block, never on timing. Every lane or thread receives the same bits.
#pragma once

#include <cuda_runtime_api.h>

namespace rlcpp::ops::cuda {

constexpr int kWarp = 32;
constexpr int kMaxWarps = 32;  // of a block
constexpr unsigned kAllLanes = 0xffffffffU;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// Of floats; a NaN is ignored unless both are NaN.
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Over groups of kLanes (a power of two up to 32) neighbouring lanes; all 32 lanes of the warp call it.
template <int kLanes = kWarp, class T, class Op>
__device__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = op(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}
template <int kLanes = kWarp, class T>
__device__ T warp_sum(T value) {
  return warp_reduce<kLanes>(value, Sum());
}
__device__ inline float warp_max(float value) {
  return warp_reduce(value, Max());
}

// Over all threads of a one-dimensional block of whole warps; all threads call it. `nothing` is the neutral
// value of `op`. May be called again at once: nobody leaves while another still reads.
template <class T, class Op>
__device__ T block_reduce(T value, T nothing, Op op) {
  __shared__ T of_warp[kMaxWarps];
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warps = blockDim.x / kWarp;
  value = warp_reduce(value, op);
  if (warps == 1) return value;
  if (lane == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = warp_reduce(lane < warps ? of_warp[lane] : nothing, op);
  __syncthreads();
  return value;
}
template <class T>
__device__ T block_sum(T value) {
  return block_reduce(value, T{}, Sum());
}
__device__ inline float block_max(float value) {
  return block_reduce(value, -__int_as_float(0x7f800000), Max());
}

// kCount independent sums for the price of one.
template <int kCount>
__device__ void block_sums(float (&values)[kCount]) {
  __shared__ float of_warp[kCount][kMaxWarps];
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warps = blockDim.x / kWarp;
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = warp_sum(values[i]);
  if (warps == 1) return;
  if (lane == 0) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) of_warp[i][threadIdx.x / kWarp] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = warp_sum(lane < warps ? of_warp[i][lane] : 0.0F);
  __syncthreads();
}

}  // namespace rlcpp::ops::cuda
