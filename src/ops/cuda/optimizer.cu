// AdamW, one pass over the parameters. Every operation is rounded by itself and in the order of the CPU
// (ops/cpu/simd/optimizer.inl), so with f32 moments the two give the same bits.
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/optimizer.h"
#include "ops/cuda/optimizer_cuda.h"
#include "ops/cuda/philox.cuh"

namespace rlcpp::ops::cuda {
namespace {

using cpu::AdamWConstants;

constexpr int kAdamWThreads = 256;
constexpr int kQuad = 4;  // elements a thread: one Philox block has 16 bits for both moments of four

template <class Moment>
struct AdamWArgs {
  float* w;
  Moment* m;
  Moment* v;
  const float* g;
  bf16* working;  // null: not kept
  std::int64_t size;
  AdamWConstants constants;
  std::uint64_t seed;
  std::uint64_t step;
  std::int64_t first_quad;
};

struct Quad {
  float value[kQuad];
};

template <class T>
__device__ Quad load_some(const T* p, int count) {
  Quad q = {};
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    if (k < count) q.value[k] = to_float(p[k]);
  }
  return q;
}
template <class T>
__device__ void store_some(T* p, const Quad& q, int count) {
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    if (k < count) p[k] = from_float<T>(q.value[k]);
  }
}

// Up to four values from p; kAligned: p is aligned to four of them, and all four are there.
template <bool kAligned>
__device__ Quad load_quad(const float* p, int count) {
  if constexpr (kAligned) {
    const float4 four = *reinterpret_cast<const float4*>(p);
    return {{four.x, four.y, four.z, four.w}};
  } else {
    return load_some(p, count);
  }
}
template <bool kAligned>
__device__ Quad load_quad(const bf16* p, int count) {
  if constexpr (kAligned) {
    const uint2 words = *reinterpret_cast<const uint2*>(p);
    const float2 low = unpack_bf16(words.x);
    const float2 high = unpack_bf16(words.y);
    return {{low.x, low.y, high.x, high.y}};
  } else {
    return load_some(p, count);
  }
}

template <bool kAligned>
__device__ void store_quad(float* p, const Quad& q, int count) {
  if constexpr (kAligned) {
    *reinterpret_cast<float4*>(p) = make_float4(q.value[0], q.value[1], q.value[2], q.value[3]);
  } else {
    store_some(p, q, count);
  }
}
// Rounds to nearest.
template <bool kAligned>
__device__ void store_quad(bf16* p, const Quad& q, int count) {
  if constexpr (kAligned) {
    *reinterpret_cast<uint2*>(p) =
        make_uint2(pack_bf16(q.value[0], q.value[1]), pack_bf16(q.value[2], q.value[3]));
  } else {
    store_some(p, q, count);
  }
}

// One of the two bf16 next to the value, as a float, each with the probability that makes the mean right:
// `draw` is 16 random bits, added below the last bit that is kept. Infinity and NaN are left alone.
__device__ float rounded_stochastically(float value, std::uint32_t draw) {
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7f800000U) == 0x7f800000U) return value;
  return __uint_as_float((bits + draw) & 0xffff0000U);
}

__device__ void update(float& w, float& m, float& v, float g, const AdamWConstants& c) {
  const float gradient = __fmul_rn(g, c.gradient_scale);
  const float weight = __fmul_rn(w, c.decay);
  m = __fmaf_rn(c.beta1_weight, __fsub_rn(gradient, m), m);
  v = __fmaf_rn(__fmul_rn(c.beta2_weight, gradient), gradient, __fmul_rn(v, c.beta2));
  const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), c.root_correction), c.eps);
  w = __fsub_rn(weight, __fmul_rn(c.step_size, __fdiv_rn(m, denominator)));
}

template <bool kAligned, class Moment>
__device__ void update_quad(const AdamWArgs<Moment>& args, std::int64_t quad, int count) {
  const std::int64_t i = quad * kQuad;
  Quad w = load_quad<kAligned>(args.w + i, count);
  Quad m = load_quad<kAligned>(args.m + i, count);
  Quad v = load_quad<kAligned>(args.v + i, count);
  const Quad g = load_quad<kAligned>(args.g + i, count);
#pragma unroll
  for (int k = 0; k < kQuad; ++k) update(w.value[k], m.value[k], v.value[k], g.value[k], args.constants);
  if constexpr (sizeof(Moment) == sizeof(bf16)) {
    const Philox4 draws =
        philox4x32(static_cast<std::uint64_t>(args.first_quad + quad), args.step, args.seed);
#pragma unroll
    for (int k = 0; k < kQuad; ++k) {
      m.value[k] = rounded_stochastically(m.value[k], draws.word[k] & 0xffffU);
      v.value[k] = rounded_stochastically(v.value[k], draws.word[k] >> 16);
    }
  }
  store_quad<kAligned>(args.w + i, w, count);
  store_quad<kAligned>(args.m + i, m, count);
  store_quad<kAligned>(args.v + i, v, count);
  if (args.working != nullptr) store_quad<kAligned>(args.working + i, w, count);
}

template <bool kAligned, class Moment>
__global__ void __launch_bounds__(kAdamWThreads) adamw_kernel(AdamWArgs<Moment> args) {
  const std::int64_t quad = std::int64_t{blockIdx.x} * kAdamWThreads + threadIdx.x;
  const std::int64_t left = args.size - quad * kQuad;
  if (left <= 0) return;
  if (kAligned && left >= kQuad) {
    update_quad<true>(args, quad, kQuad);
  } else {
    update_quad<false>(args, quad, left < kQuad ? static_cast<int>(left) : kQuad);
  }
}

// As ops/cpu/optimizer.cpp.
AdamWConstants constants_of(const AdamWStep& step) {
  const auto t = static_cast<double>(step.step);
  AdamWConstants constants;
  constants.decay = static_cast<float>(1.0 - step.lr * step.weight_decay);
  constants.beta1_weight = static_cast<float>(1.0 - step.beta1);
  constants.beta2 = static_cast<float>(step.beta2);
  constants.beta2_weight = static_cast<float>(1.0 - step.beta2);
  constants.step_size = static_cast<float>(step.lr / (1.0 - std::pow(step.beta1, t)));
  constants.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(step.beta2, t)));
  constants.eps = static_cast<float>(step.eps);
  constants.gradient_scale = step.gradient_scale;
  return constants;
}

template <class Moment>
void launch_adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
                  const AdamWStep& step, const Tensor& working) {
  const AdamWArgs<Moment> args = {
      address<float>(w),         address<Moment>(m),     address<Moment>(v),
      address<const float>(g),   address<bf16>(working), w.size(),
      constants_of(step),        step.rounding_seed,     static_cast<std::uint64_t>(step.step),
      step.first_element / kQuad};
  // The last quad may be short whatever the alignment, so only addresses count.
  const bool aligned = vectorisable(0, {args.w, args.m, args.v, args.g, args.working});
  const auto kernel = aligned ? adamw_kernel<true, Moment> : adamw_kernel<false, Moment>;
  kernel<<<grid_of(ceil_div(args.size, kQuad * kAdamWThreads)), kAdamWThreads, 0, stream_of(ctx)>>>(args);
  check_launch("adamw");
}

}  // namespace

void adamw(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& v, const Tensor& g,
           const AdamWStep& step, const Tensor& working) {
  if (w.size() == 0) return;
  if (m.dtype() == DType::kBF16) {
    launch_adamw<bf16>(ctx, w, m, v, g, step, working);
  } else {
    launch_adamw<float>(ctx, w, m, v, g, step, working);
  }
}

}  // namespace rlcpp::ops::cuda
