// RMSNorm on rows of bf16. Everything between a load and a store is f32: transformers rounds x * rstd to bf16
// before it multiplies by the weight, here the product is rounded once, which is closer to the exact value.
#include "ops/cuda/norm.h"

#include "ops/cuda/launch.cuh"
#include "ops/cuda/norm_cuda.h"
#include "ops/cuda/partials.h"
#include "ops/cuda/reduce.cuh"

namespace rlcpp::ops::cuda {
namespace {

// Rows whose weight gradients a block adds before it writes its part. A constant of the sum's order: more
// parts would cost traffic, fewer would leave multiprocessors idle at a few thousand rows.
constexpr int kNormRows = 16;

// A block a row; a thread owns the vectors threadIdx.x, threadIdx.x + blockDim.x, ... and keeps the first in
// registers between the sum and the result. The block's size depends on h alone, and so does the sum's order.
template <bool kAligned>
__global__ void __launch_bounds__(1024)
    rmsnorm_forward_kernel(bf16* y, float* rstd, bf16* residual, const bf16* x, const bf16* w, int h,
                           float eps) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * h;
  const int first = static_cast<int>(threadIdx.x) * kVector;
  const int step = static_cast<int>(blockDim.x) * kVector;
  const Float8 first_weight = load_vector<kAligned>(w + first, h - first);
  Float8 kept = {};
  float squares = 0.0F;
  for (int c = first; c < h; c += step) {
    Float8 v = load_vector<kAligned>(x + row + c, h - c);
    if (residual != nullptr) {
      const Float8 old = load_vector<kAligned>(residual + row + c, h - c);
      // The norm reads what the residual stream holds: the join has the bits of an addition, then a norm.
#pragma unroll
      for (int i = 0; i < kVector; ++i) v[i] = rounded_to_bf16(old[i] + v[i]);
      store_vector<kAligned>(residual + row + c, v, h - c);
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) squares += v[i] * v[i];
    if (c == first) kept = v;
  }
  const float factor = 1.0F / sqrtf(block_sum(squares) / static_cast<float>(h) + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = factor;
  const bf16* input = residual != nullptr ? residual : x;
  for (int c = first; c < h; c += step) {
    Float8 v = c == first ? kept : load_vector<kAligned>(input + row + c, h - c);
    const Float8 weight = c == first ? first_weight : load_vector<kAligned>(w + c, h - c);
#pragma unroll
    for (int i = 0; i < kVector; ++i) v[i] = v[i] * factor * weight[i];
    store_vector<kAligned>(y + row + c, v, h - c);
  }
}

struct NormBackward {
  bf16* dx;
  float* part;  // [ceil(rows / kNormRows), h], or null
  const bf16* dy;
  const bf16* x;
  const bf16* w;
  const float* rstd;
  std::int64_t rows;
  int h;
  bool accumulate_dx;
};

// With n = x rstd: dx = rstd (dy w - n mean(dy w n)); dw = sum over rows of dy n. A block takes kNormRows
// rows, kAtOnce of them together so that their loads overlap; a thread owns one vector of columns and keeps
// their weight gradient in registers.
template <bool kAligned, int kAtOnce, int kMaxThreads>
__global__ void __launch_bounds__(kMaxThreads) rmsnorm_backward_kernel(const NormBackward args) {
  static_assert(kNormRows % kAtOnce == 0);
  const int h = args.h;
  const int c = static_cast<int>(threadIdx.x) * kVector;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kNormRows;
  const Float8 weight = load_vector<kAligned>(args.w + c, h - c);
  Float8 dw = {};
  for (int r = 0; r < kNormRows && begin + r < args.rows; r += kAtOnce) {
    Float8 normalised[kAtOnce];
    Float8 gradient[kAtOnce];
    float factor[kAtOnce];
    float sums[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const std::int64_t row = begin + r + i;
      const int count = row < args.rows ? h - c : 0;
      factor[i] = row < args.rows ? args.rstd[row] : 0.0F;
      normalised[i] = load_vector<kAligned>(args.x + row * h + c, count);
      gradient[i] = load_vector<kAligned>(args.dy + row * h + c, count);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      sums[i] = 0.0F;
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        normalised[i][k] *= factor[i];
        dw[k] += gradient[i][k] * normalised[i][k];
        gradient[i][k] *= weight[k];
        sums[i] += gradient[i][k] * normalised[i][k];
      }
    }
    block_sums(sums);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const std::int64_t row = begin + r + i;
      const int count = row < args.rows ? h - c : 0;
      const float mean = sums[i] / static_cast<float>(h);
      Float8 value = {};
      if (args.accumulate_dx) value = load_vector<kAligned>(args.dx + row * h + c, count);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        value[k] += factor[i] * (gradient[i][k] - normalised[i][k] * mean);
      }
      store_vector<kAligned>(args.dx + row * h + c, value, count);
    }
  }
  if (args.part != nullptr) {
    store_vector<kAligned>(args.part + static_cast<std::int64_t>(blockIdx.x) * h + c, dw, h - c);
  }
}

// The same for rows that are wider than a block: the row is read twice, and the weight gradient is kept in
// the block's part.
template <bool kAligned>
__global__ void __launch_bounds__(1024) rmsnorm_backward_wide_kernel(const NormBackward args) {
  const int h = args.h;
  const int first = static_cast<int>(threadIdx.x) * kVector;
  const int step = static_cast<int>(blockDim.x) * kVector;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kNormRows;
  float* part = args.part != nullptr ? args.part + static_cast<std::int64_t>(blockIdx.x) * h : nullptr;
  for (int r = 0; r < kNormRows && begin + r < args.rows; ++r) {
    const bf16* x = args.x + (begin + r) * h;
    const bf16* dy = args.dy + (begin + r) * h;
    bf16* dx = args.dx + (begin + r) * h;
    const float factor = args.rstd[begin + r];
    float sum = 0.0F;
    for (int c = first; c < h; c += step) {
      const Float8 input = load_vector<kAligned>(x + c, h - c);
      const Float8 gradient = load_vector<kAligned>(dy + c, h - c);
      const Float8 weight = load_vector<kAligned>(args.w + c, h - c);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum += gradient[k] * weight[k] * (input[k] * factor);
    }
    const float mean = block_sum(sum) / static_cast<float>(h);
    for (int c = first; c < h; c += step) {
      const Float8 input = load_vector<kAligned>(x + c, h - c);
      const Float8 gradient = load_vector<kAligned>(dy + c, h - c);
      const Float8 weight = load_vector<kAligned>(args.w + c, h - c);
      Float8 value = {};
      Float8 dw = {};
      if (args.accumulate_dx) value = load_vector<kAligned>(dx + c, h - c);
      if (part != nullptr && r > 0) dw = load_vector<kAligned>(part + c, h - c);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        const float normalised = input[k] * factor;
        dw[k] += gradient[k] * normalised;
        value[k] += factor * (gradient[k] * weight[k] - normalised * mean);
      }
      if (part != nullptr) store_vector<kAligned>(part + c, dw, h - c);
      store_vector<kAligned>(dx + c, value, h - c);
    }
  }
}

template <bool kAligned>
void launch_norm_backward(const NormBackward& args, unsigned blocks, cudaStream_t stream) {
  const std::int64_t per_thread = ceil_div(args.h, kVector);
  const unsigned threads = threads_for(args.h);
  if (per_thread <= 512) {
    rmsnorm_backward_kernel<kAligned, 4, 512><<<blocks, threads, 0, stream>>>(args);
  } else if (per_thread <= 1024) {
    rmsnorm_backward_kernel<kAligned, 2, 1024><<<blocks, threads, 0, stream>>>(args);
  } else {
    rmsnorm_backward_wide_kernel<kAligned><<<blocks, threads, 0, stream>>>(args);
  }
}

int norm_width(const Tensor& w) {
  RLCPP_CHECK(w.dim(0) <= std::numeric_limits<std::int32_t>::max() / 2);  // columns are counted in int
  return static_cast<int>(w.dim(0));
}

}  // namespace

std::size_t norm_scratch(const WorkspaceNeeds& needs) {
  ScratchLayout layout;
  layout.take<float>(static_cast<std::size_t>(ceil_div(needs.tokens, kNormRows) * needs.hidden_size));
  return layout.bytes();
}

void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                     const Tensor& x, const Tensor& w, float eps) {
  const int h = norm_width(w);
  if (x.dim(0) == 0) return;
  const auto kernel = vectorisable(h, {y.raw(), residual.raw(), x.raw(), w.raw()})
                          ? rmsnorm_forward_kernel<true>
                          : rmsnorm_forward_kernel<false>;
  kernel<<<grid_of(x.dim(0)), threads_for(h), 0, stream_of(ctx)>>>(
      address<bf16>(y), address<float>(rstd), address<bf16>(residual), address<const bf16>(x),
      address<const bf16>(w), h, eps);
  check_launch("rmsnorm_forward");
}

void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx) {
  const std::int64_t rows = x.dim(0);
  if (rows == 0) return;
  const std::int64_t parts = ceil_div(rows, kNormRows);
  NormBackward args = {address<bf16>(dx),
                       nullptr,
                       address<const bf16>(dy),
                       address<const bf16>(x),
                       address<const bf16>(w),
                       address<const float>(rstd),
                       rows,
                       norm_width(w),
                       accumulate_dx};
  if (!dw.empty()) {
    const std::size_t bytes = static_cast<std::size_t>(parts * args.h) * sizeof(float);
    args.part = static_cast<float*>(ctx.cuda->scratch(bytes, "rmsnorm_backward"));
  }
  const bool aligned = vectorisable(args.h, {dx.raw(), dy.raw(), x.raw(), w.raw()});
  const auto launch = aligned ? launch_norm_backward<true> : launch_norm_backward<false>;
  launch(args, grid_of(parts), stream_of(ctx));
  check_launch("rmsnorm_backward");
  if (!dw.empty()) add_partials(stream_of(ctx), address<float>(dw), args.part, parts, args.h, args.h);
}

}  // namespace rlcpp::ops::cuda
