// Per-head RMSNorm of q and k and rotary positions, on packed rows of bf16. A group of 1 to 32 lanes of a
// warp holds one head of one token: each lane eight values of the head's first half and the eight that they
// are rotated with. Everything between a load and a store is f32, where transformers rounds to bf16 after the
// norm, after its weight and after each product of the rotation: one rounding here, closer to the exact
// value.
#include "ops/cuda/rope.h"

#include "ops/cuda/launch.cuh"
#include "ops/cuda/partials.h"
#include "ops/cuda/reduce.cuh"
#include "ops/cuda/rope_cuda.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kRopeThreads = 256;
constexpr int kRopeWarps = kRopeThreads / kWarp;
// Tokens whose norm-weight gradients a block adds before it writes its part; a constant of the sum's order.
constexpr int kRopeRows = 16;
constexpr int kMaxRopeDim = 2 * kVector * kWarp;

struct RopeArgs {
  bf16* out;          // the forward's out or the backward's dqkv
  const bf16* in;     // the forward's qkv or the backward's dout
  const bf16* qkv;    // backward: the forward's input; null without norms
  float* rstd_out;    // forward; null without norms
  const float* rstd;  // backward
  float* part;        // backward: [ceil(rows / kRopeRows), 2, head_dim], or null
  const bf16* q_norm;
  const bf16* k_norm;
  const float* cos;
  const float* sin;
  const std::int32_t* positions;
  std::int64_t rows;
  int num_heads;  // of q
  int rotated;    // of q and k
  int visited;    // the heads of a row that the kernel writes: without those of v where they stay in place
  int all;        // of q, k and v
  int head_dim;
  float eps;
};

// Two matching vectors of a head, of which `count` values are inside the half.
struct HeadPair {
  Float8 a, b;
};
template <bool kAligned, class T>
__device__ HeadPair load_pair(const T* head, int half, int i, int count) {
  return {load_vector<kAligned>(head + i, count), load_vector<kAligned>(head + half + i, count)};
}
template <bool kAligned>
__device__ void store_pair(bf16* head, const HeadPair& p, int half, int i, int count) {
  store_vector<kAligned>(head + i, p.a, count);
  store_vector<kAligned>(head + half + i, p.b, count);
}

// (a, b) rotated by the token's angles; direction -1 undoes it.
template <bool kAligned>
__device__ HeadPair rotate(const RopeArgs& args, const HeadPair& p, std::int64_t row, int half, int i,
                           int count, float direction) {
  const std::int64_t at = static_cast<std::int64_t>(args.positions[row]) * half + i;
  const Float8 c = load_vector<kAligned>(args.cos + at, count);
  const Float8 s = load_vector<kAligned>(args.sin + at, count);
  HeadPair turned;
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    const float sine = direction * s[k];
    turned.a[k] = p.a[k] * c[k] - p.b[k] * sine;
    turned.b[k] = p.b[k] * c[k] + p.a[k] * sine;
  }
  return turned;
}

// Where a thread is: which of its block's groups, and which values of the head.
template <int kLanes>
struct HeadPlace {
  static constexpr int kGroups = kRopeThreads / kLanes;
  int group = static_cast<int>(threadIdx.x) / kLanes;
  int i = static_cast<int>(threadIdx.x) % kLanes * kVector;
};

// A block takes one token. All threads make the same number of turns, since a warp sums together.
template <int kLanes, bool kAligned>
__global__ void __launch_bounds__(kRopeThreads) qk_norm_rope_kernel(const RopeArgs args) {
  const HeadPlace<kLanes> place;
  const int half = args.head_dim / 2;
  const std::int64_t row = blockIdx.x;
  for (int base = 0; base < args.visited; base += HeadPlace<kLanes>::kGroups) {
    const int head = base + place.group;
    const int count = head < args.visited ? half - place.i : 0;
    const std::int64_t at = (row * args.all + head) * args.head_dim;
    HeadPair p = load_pair<kAligned>(args.in + at, half, place.i, count);
    if (args.q_norm != nullptr) {
      float squares = 0.0F;
#pragma unroll
      for (int k = 0; k < kVector; ++k) squares += p.a[k] * p.a[k] + p.b[k] * p.b[k];
      squares = warp_sum<kLanes>(squares);
      if (head < args.rotated) {
        const float factor = 1.0F / sqrtf(squares / static_cast<float>(args.head_dim) + args.eps);
        if (place.i == 0) args.rstd_out[row * args.rotated + head] = factor;
        const bf16* w = head < args.num_heads ? args.q_norm : args.k_norm;
        const HeadPair weight = load_pair<kAligned>(w, half, place.i, count);
#pragma unroll
        for (int k = 0; k < kVector; ++k) {
          p.a[k] = p.a[k] * factor * weight.a[k];
          p.b[k] = p.b[k] * factor * weight.b[k];
        }
      }
    }
    if (head < args.rotated) p = rotate<kAligned>(args, p, row, half, place.i, count, 1.0F);
    store_pair<kAligned>(args.out + at, p, half, place.i, count);
  }
}

// The sum of `value` over the groups of the block, written to `to` [head_dim]. `of_warp` is shared memory of
// kRopeWarps heads. Groups of a warp meet by shuffles, warps one after the other.
template <int kLanes>
__device__ void write_part(float* to, const HeadPair& value, float* of_warp, int half, int i) {
  float* mine = of_warp + static_cast<int>(threadIdx.x) / kWarp * 2 * half;
  const bool writes = static_cast<int>(threadIdx.x) % kWarp < kLanes;
#pragma unroll
  for (int k = 0; k < kVector; ++k) {
    float a = value.a[k];
    float b = value.b[k];
#pragma unroll
    for (int distance = kWarp / 2; distance >= kLanes; distance /= 2) {
      a += __shfl_xor_sync(kAllLanes, a, distance);
      b += __shfl_xor_sync(kAllLanes, b, distance);
    }
    if (writes && i + k < half) {
      mine[i + k] = a;
      mine[half + i + k] = b;
    }
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < 2 * half; c += kRopeThreads) {
    float sum = 0.0F;
#pragma unroll
    for (int warp = 0; warp < kRopeWarps; ++warp) sum += of_warp[warp * 2 * half + c];
    to[c] = sum;
  }
  __syncthreads();
}

// The rotation is undone (its transpose), then, with n = x rstd: dx = rstd (d w - n mean(d w n)), dw = sum of
// d n. A block takes kRopeRows tokens.
template <int kLanes, bool kAligned>
__global__ void __launch_bounds__(kRopeThreads) qk_norm_rope_backward_kernel(const RopeArgs args) {
  __shared__ float of_warp[kRopeWarps * kMaxRopeDim];
  const HeadPlace<kLanes> place;
  const int half = args.head_dim / 2;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kRopeRows;
  const std::int64_t left = args.rows - begin;
  const int items = static_cast<int>(left < kRopeRows ? left : kRopeRows) * args.visited;
  HeadPair dq = {};
  HeadPair dk = {};
  for (int base = 0; base < items; base += HeadPlace<kLanes>::kGroups) {
    const int item = base + place.group;
    const bool live = item < items;
    const int head = live ? item % args.visited : 0;
    const std::int64_t row = live ? begin + item / args.visited : begin;
    const int count = live ? half - place.i : 0;
    const std::int64_t at = (row * args.all + head) * args.head_dim;
    HeadPair d = load_pair<kAligned>(args.in + at, half, place.i, count);
    const bool rotated = live && head < args.rotated;
    if (rotated) d = rotate<kAligned>(args, d, row, half, place.i, count, -1.0F);
    if (args.q_norm != nullptr) {
      const int used = rotated ? count : 0;
      const float factor = rotated ? args.rstd[row * args.rotated + head] : 0.0F;
      const bf16* w = head < args.num_heads ? args.q_norm : args.k_norm;
      const HeadPair weight = load_pair<kAligned>(w, half, place.i, used);
      HeadPair n = load_pair<kAligned>(args.qkv + at, half, place.i, used);
      HeadPair dw;
      float sum = 0.0F;
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        n.a[k] *= factor;
        n.b[k] *= factor;
        dw.a[k] = d.a[k] * n.a[k];
        dw.b[k] = d.b[k] * n.b[k];
        sum += dw.a[k] * weight.a[k] + dw.b[k] * weight.b[k];
      }
      const float mean = warp_sum<kLanes>(sum) / static_cast<float>(args.head_dim);
      if (rotated) {
        const bool is_q = head < args.num_heads;
#pragma unroll
        for (int k = 0; k < kVector; ++k) {
          dq.a[k] += is_q ? dw.a[k] : 0.0F;
          dq.b[k] += is_q ? dw.b[k] : 0.0F;
          dk.a[k] += is_q ? 0.0F : dw.a[k];
          dk.b[k] += is_q ? 0.0F : dw.b[k];
          d.a[k] = factor * (d.a[k] * weight.a[k] - n.a[k] * mean);
          d.b[k] = factor * (d.b[k] * weight.b[k] - n.b[k] * mean);
        }
      }
    }
    store_pair<kAligned>(args.out + at, d, half, place.i, count);
  }
  if (args.part == nullptr) return;
  float* part = args.part + static_cast<std::int64_t>(blockIdx.x) * 2 * args.head_dim;
  write_part<kLanes>(part, dq, of_warp, half, place.i);
  write_part<kLanes>(part + args.head_dim, dk, of_warp, half, place.i);
}

using RopeKernel = void (*)(RopeArgs);
struct RopeKernels {
  RopeKernel forward, backward;
};
template <bool kAligned>
RopeKernels rope_kernels(int half) {
  if (half <= kVector) return {qk_norm_rope_kernel<1, kAligned>, qk_norm_rope_backward_kernel<1, kAligned>};
  if (half <= 2 * kVector)
    return {qk_norm_rope_kernel<2, kAligned>, qk_norm_rope_backward_kernel<2, kAligned>};
  if (half <= 4 * kVector)
    return {qk_norm_rope_kernel<4, kAligned>, qk_norm_rope_backward_kernel<4, kAligned>};
  if (half <= 8 * kVector)
    return {qk_norm_rope_kernel<8, kAligned>, qk_norm_rope_backward_kernel<8, kAligned>};
  if (half <= 16 * kVector)
    return {qk_norm_rope_kernel<16, kAligned>, qk_norm_rope_backward_kernel<16, kAligned>};
  return {qk_norm_rope_kernel<32, kAligned>, qk_norm_rope_backward_kernel<32, kAligned>};
}
RopeKernels rope_kernels(const RopeArgs& args) {
  const int half = args.head_dim / 2;
  const bool aligned =
      vectorisable(half, {args.out, args.in, args.qkv, args.q_norm, args.k_norm, args.cos, args.sin});
  return aligned ? rope_kernels<true>(half) : rope_kernels<false>(half);
}

RopeArgs rope_args(const Tensor& out, const Tensor& in, const Tensor& q_norm, const Tensor& k_norm,
                   const Tensor& cos, const Tensor& sin, const Tensor& positions, const QkvShape& shape) {
  RLCPP_CHECK(shape.head_dim <= kMaxRopeDim &&
              shape.width() <= std::numeric_limits<std::int32_t>::max() / 32);
  RopeArgs args = {};
  args.out = address<bf16>(out);
  args.in = address<const bf16>(in);
  args.q_norm = address<const bf16>(q_norm);
  args.k_norm = address<const bf16>(k_norm);
  args.cos = address<const float>(cos);
  args.sin = address<const float>(sin);
  args.positions = address<const std::int32_t>(positions);
  args.rows = in.dim(0);
  args.num_heads = static_cast<int>(shape.num_heads);
  args.rotated = static_cast<int>(shape.num_heads + shape.num_kv_heads);
  args.all = static_cast<int>(shape.num_heads + 2 * shape.num_kv_heads);
  args.visited = out.raw() == in.raw() ? args.rotated : args.all;
  args.head_dim = static_cast<int>(shape.head_dim);
  return args;
}

std::size_t rope_part_bytes(std::int64_t rows, std::int64_t head_dim) {
  return static_cast<std::size_t>(ceil_div(rows, kRopeRows) * 2 * head_dim) * sizeof(float);
}

}  // namespace

std::size_t rope_scratch(const WorkspaceNeeds& needs) {
  return rope_part_bytes(needs.tokens, needs.shape.head_dim);
}

void qk_norm_rope_forward(const Context& ctx, const Tensor& out, const Tensor& rstd, const Tensor& qkv,
                          const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                          const Tensor& positions, const QkvShape& shape, float eps) {
  RopeArgs args = rope_args(out, qkv, q_norm, k_norm, cos, sin, positions, shape);
  if (args.rows == 0) return;
  if (args.q_norm != nullptr) args.rstd_out = address<float>(rstd);
  args.eps = eps;
  rope_kernels(args).forward<<<grid_of(args.rows), kRopeThreads, 0, stream_of(ctx)>>>(args);
  check_launch("qk_norm_rope_forward");
}

// eps is in the saved rstd.
void qk_norm_rope_backward(const Context& ctx, const Tensor& dqkv, const Tensor& dq_norm,
                           const Tensor& dk_norm, const Tensor& dout, const Tensor& qkv, const Tensor& rstd,
                           const Tensor& q_norm, const Tensor& k_norm, const Tensor& cos, const Tensor& sin,
                           const Tensor& positions, const QkvShape& shape, float /*eps*/) {
  RopeArgs args = rope_args(dqkv, dout, q_norm, k_norm, cos, sin, positions, shape);
  if (args.rows == 0) return;
  const bool norms = args.q_norm != nullptr;
  const bool sums = norms && !(dq_norm.empty() && dk_norm.empty());
  if (norms) {
    args.qkv = address<const bf16>(qkv);
    args.rstd = address<const float>(rstd);
  }
  if (sums) {
    const std::size_t bytes = rope_part_bytes(args.rows, args.head_dim);
    args.part = static_cast<float*>(ctx.cuda->scratch(bytes, "qk_norm_rope_backward"));
  }
  const std::int64_t parts = ceil_div(args.rows, kRopeRows);
  rope_kernels(args).backward<<<grid_of(parts), kRopeThreads, 0, stream_of(ctx)>>>(args);
  check_launch("qk_norm_rope_backward");
  if (!sums) return;
  const std::int64_t stride = std::int64_t{2} * args.head_dim;
  if (!dq_norm.empty())
    add_partials(stream_of(ctx), address<float>(dq_norm), args.part, parts, args.head_dim, stride);
  if (!dk_norm.empty())
    add_partials(stream_of(ctx), address<float>(dk_norm), args.part + args.head_dim, parts, args.head_dim,
                 stride);
}

}  // namespace rlcpp::ops::cuda
