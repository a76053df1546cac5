// Products with a weight that go on in the same kernel on Hopper: with a low-rank adapter, over whose few
// columns the sum continues, so the result is written once, where two products write it, read it and write it
// again; and with SwiGLU behind gate and up, which then need not be written, and never read.

#include "ops/cuda/gemm_hopper.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/matmul.h"
#include "ops/cuda/swiglu.cuh"
#include "ops/cuda/tensor_map.h"

namespace rlcpp::ops::cuda {
namespace {

template <bool kByDepth>
__global__ void __launch_bounds__(kGemmThreads, 1)
    two_products_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                        const __grid_constant__ CUtensorMap more_a_map,
                        const __grid_constant__ CUtensorMap more_b_map,
                        const __grid_constant__ CUtensorMap out_map, const GemmShape shape) {
#if RLCPP_SM90A
  GemmShared& shared = gemm_shared();
  gemm_begin(shared);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) gemm_load<kByDepth>(shared, {&a_map, &b_map}, {&more_a_map, &more_b_map}, shape);
  } else {
    more_registers<240>();
    const int part = group - 1;
    const int clusters = static_cast<int>(gridDim.x) / kGemmPair;
    float sum[128];
    GemmPlace at;
    for (int pair = static_cast<int>(blockIdx.x) / kGemmPair; pair < shape.pairs(); pair += clusters) {
      const int row = (pair % shape.row_pairs() * kGemmPair + cluster_rank()) * kGemmRows + part * 64;
      const int column = pair / shape.row_pairs() * kGemmColumns;
      gemm_tile<kByDepth>(shared, sum, at, part, shape);
      std::uint32_t pairs[64];
      round_pairs(pairs, sum);
#pragma unroll
      for (int box = 0; box < kGemmColumns / 64; ++box)
        gemm_store(shared, &out_map, part, box, column + 64 * box, row, pairs + 16 * box);
    }
    gemm_stores_done();
  }
  gemm_end();
#endif
}

// A tile has 128 columns of the gate and the same of `up`.
template <bool kKeep>
__global__ void __launch_bounds__(kGemmThreads, 1)
    swiglu_product_kernel(const __grid_constant__ CUtensorMap a_map,
                          const __grid_constant__ CUtensorMap b_map,
                          const __grid_constant__ CUtensorMap more_a_map,
                          const __grid_constant__ CUtensorMap more_b_map,
                          const __grid_constant__ CUtensorMap gate_up_map,
                          const __grid_constant__ CUtensorMap y_map, const GemmShape shape) {
#if RLCPP_SM90A
  GemmShared& shared = gemm_shared();
  gemm_begin(shared);
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) gemm_load<false>(shared, {&a_map, &b_map}, {&more_a_map, &more_b_map}, shape);
  } else {
    more_registers<240>();
    const int part = group - 1;
    const int clusters = static_cast<int>(gridDim.x) / kGemmPair;
    float sum[128];
    GemmPlace at;
    for (int pair = static_cast<int>(blockIdx.x) / kGemmPair; pair < shape.pairs(); pair += clusters) {
      const int row = (pair % shape.row_pairs() * kGemmPair + cluster_rank()) * kGemmRows + part * 64;
      const int column = pair / shape.row_pairs() * (kGemmColumns / 2);
      gemm_tile<false>(shared, sum, at, part, shape);
      std::uint32_t pairs[64];
      round_pairs(pairs, sum);
      if constexpr (kKeep) {
#pragma unroll
        for (int box = 0; box < 4; ++box)
          gemm_store(shared, &gate_up_map, part, box, column + 64 * (box % 2) + box / 2 * shape.apart, row,
                     pairs + 16 * box);
      }
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const float2 gate = unpack_bf16(pairs[i]), up = unpack_bf16(pairs[32 + i]);
        pairs[i] = pack_bf16(swiglu_of(gate.x, up.x), swiglu_of(gate.y, up.y));
      }
#pragma unroll
      for (int box = 0; box < 2; ++box)
        gemm_store(shared, &y_map, part, box, column + 64 * box, row, pairs + 16 * box);
    }
    gemm_stores_done();
  }
  gemm_end();
#endif
}

bool hopper_code() {
  static const bool found = has_hopper_code(two_products_kernel<false>);
  return found;
}

CUtensorMap map(const Tensor& t, int box_rows) {
  return boxes_of(t.raw(), t.dim(0), t.dim(1), box_rows);
}

bool addressable(std::int64_t m, std::int64_t n) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() / 2;
  return m > 0 && m <= kMost && n <= kMost && hopper_code();
}

// out [m, n] = a [m, k] b + more_a [m, r] more_b, where both b are [n, k] and [n, r], transposed, or with
// kByDepth [k, n] and [r, n].
template <bool kByDepth>
bool two_products(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& b,
                  const Tensor& more_a, const Tensor& more_b) {
  const std::int64_t m = out.dim(0), n = out.dim(1), k = a.dim(1), r = more_a.dim(1);
  RLCPP_CHECK(a.dim(0) == m && more_a.dim(0) == m && b.dim(kByDepth ? 1 : 0) == n);
  RLCPP_CHECK(b.dim(kByDepth ? 0 : 1) == k && more_b.dim(kByDepth ? 1 : 0) == n);
  RLCPP_CHECK(more_b.dim(kByDepth ? 0 : 1) == r);
  if (k == 0 || n % kVector != 0 || k % kVector != 0 || r % kVector != 0) return false;
  if (!addressable(m, n)) return false;
  if (!vectorisable(n, {out.raw(), a.raw(), b.raw(), more_a.raw(), more_b.raw()})) return false;
  const GemmShape shape = {static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), static_cast<int>(r),
                           0};
  constexpr int kBoxRows = kByDepth ? kGemmDepth : kGemmColumns / kGemmPair;
  launch_gemm(two_products_kernel<kByDepth>, stream_of(ctx), ctx.cuda->multiprocessors(), shape,
              "product with an adapter", map(a, kGemmRows), map(b, kBoxRows), map(more_a, kGemmRows),
              map(more_b, kBoxRows), map(out, kGemmOutRows), shape);
  return true;
}

}  // namespace

bool adapted_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, const Tensor& h,
                     const Tensor& b) {
  return two_products<false>(ctx, y, x, w, h, b);
}

bool adapted_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                            const Tensor& dh, const Tensor& a) {
  return two_products<true>(ctx, dx, dy, w, dh, a);
}

bool linear_swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up, bool keep,
                           const Tensor& x, const Tensor& w, const Tensor& h, const Tensor& b) {
  const std::int64_t m = x.dim(0), k = x.dim(1), inner = y.dim(1), r = h.empty() ? 0 : h.dim(1);
  if (k == 0 || k % kVector != 0 || r % kVector != 0 || inner % (kGemmColumns / 2) != 0) return false;
  if (!addressable(m, 2 * inner)) return false;
  if (!vectorisable(k, {y.raw(), gate_up.raw(), x.raw(), w.raw(), h.raw(), b.raw()})) return false;
  const GemmShape shape = {static_cast<int>(m), static_cast<int>(2 * inner), static_cast<int>(k),
                           static_cast<int>(r), static_cast<int>(inner)};
  constexpr int kBoxRows = kGemmColumns / kGemmPair;
  // Without an adapter nothing asks for the second pair.
  const CUtensorMap more_a = r == 0 ? CUtensorMap{} : map(h, kGemmRows);
  const CUtensorMap more_b = r == 0 ? CUtensorMap{} : map(b, kBoxRows);
  launch_gemm(keep ? swiglu_product_kernel<true> : swiglu_product_kernel<false>, stream_of(ctx),
              ctx.cuda->multiprocessors(), shape, "product with SwiGLU", map(x, kGemmRows), map(w, kBoxRows),
              more_a, more_b, map(gate_up, kGemmOutRows), map(y, kGemmOutRows), shape);
  return true;
}

}  // namespace rlcpp::ops::cuda
