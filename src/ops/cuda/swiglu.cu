// SwiGLU on rows of bf16, computed in f32 and rounded once. A thread takes eight values of a row.
#include "ops/cuda/swiglu.h"

#include "ops/cuda/launch.cuh"
#include "ops/cuda/swiglu.cuh"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kSwigluThreads = 128;
constexpr int kSwigluTile = kSwigluThreads * kVector;  // columns of a block

// Where a block's columns are: tiles of one row lie side by side.
struct SwigluPlace {
  std::int64_t row;
  std::int64_t column;
  __device__ explicit SwigluPlace(unsigned tiles)
      : row(blockIdx.x / tiles),
        column(static_cast<std::int64_t>(blockIdx.x % tiles) * kSwigluTile + threadIdx.x * kVector) {}
};

template <bool kAligned>
__global__ void __launch_bounds__(kSwigluThreads)
    swiglu_kernel(bf16* y, const bf16* gate_up, std::int64_t inner, unsigned tiles) {
  const SwigluPlace at(tiles);
  const std::int64_t count = inner - at.column;
  const bf16* gate = gate_up + at.row * 2 * inner + at.column;
  const Float8 a = load_vector<kAligned>(gate, count);
  Float8 up = load_vector<kAligned>(gate + inner, count);
#pragma unroll
  for (int i = 0; i < kVector; ++i) up[i] = swiglu_of(a[i], up[i]);
  store_vector<kAligned>(y + at.row * inner + at.column, up, count);
}

// silu'(a) = s + a s (1 - s) with s = sigmoid(a). A thread reads all it needs before it writes: dgate_up may
// be gate_up.
template <bool kAligned>
__global__ void __launch_bounds__(kSwigluThreads)
    swiglu_backward_kernel(bf16* dgate_up, const bf16* dy, const bf16* gate_up, std::int64_t inner,
                           unsigned tiles) {
  const SwigluPlace at(tiles);
  const std::int64_t count = inner - at.column;
  const std::int64_t gate = at.row * 2 * inner + at.column;
  Float8 a = load_vector<kAligned>(gate_up + gate, count);
  Float8 up = load_vector<kAligned>(gate_up + gate + inner, count);
  const Float8 gradient = load_vector<kAligned>(dy + at.row * inner + at.column, count);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float s = fast_sigmoid(a[i]);
    const float silu = a[i] * s;
    a[i] = gradient[i] * up[i] * (s + silu * (1.0F - s));
    up[i] = gradient[i] * silu;
  }
  store_vector<kAligned>(dgate_up + gate, a, count);
  store_vector<kAligned>(dgate_up + gate + inner, up, count);
}

}  // namespace

void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up) {
  if (y.size() == 0) return;
  const std::int64_t inner = y.dim(1);
  const std::int64_t tiles = ceil_div(inner, kSwigluTile);
  const auto kernel =
      vectorisable(inner, {y.raw(), gate_up.raw()}) ? swiglu_kernel<true> : swiglu_kernel<false>;
  kernel<<<grid_of(y.dim(0) * tiles), kSwigluThreads, 0, stream_of(ctx)>>>(
      address<bf16>(y), address<const bf16>(gate_up), inner, static_cast<unsigned>(tiles));
  check_launch("swiglu_forward");
}

void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up) {
  if (dy.size() == 0) return;
  const std::int64_t inner = dy.dim(1);
  const std::int64_t tiles = ceil_div(inner, kSwigluTile);
  const bool aligned = vectorisable(inner, {dgate_up.raw(), dy.raw(), gate_up.raw()});
  const auto kernel = aligned ? swiglu_backward_kernel<true> : swiglu_backward_kernel<false>;
  kernel<<<grid_of(dy.dim(0) * tiles), kSwigluThreads, 0, stream_of(ctx)>>>(
      address<bf16>(dgate_up), address<const bf16>(dy), address<const bf16>(gate_up), inner,
      static_cast<unsigned>(tiles));
  check_launch("swiglu_backward");
}

}  // namespace rlcpp::ops::cuda
