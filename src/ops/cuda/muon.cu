// Elementwise parts of Muon, one element a thread; the products around them are hundreds of times as long.
#include "ops/cuda/launch.cuh"
#include "ops/cuda/muon.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kMuonThreads = 256;

__device__ std::int64_t muon_element() {
  return std::int64_t{blockIdx.x} * kMuonThreads + threadIdx.x;
}

__global__ void momentum_kernel(float* m, const float* g, std::int64_t size, float beta, float factor) {
  const std::int64_t i = muon_element();
  if (i < size) m[i] = __fadd_rn(__fmul_rn(beta, m[i]), __fmul_rn(factor, g[i]));
}

__global__ void scaled_matrix_kernel(bf16* x, const float* m, std::int64_t rows, std::int64_t columns,
                                     float factor, bool transpose) {
  const std::int64_t e = muon_element();
  if (e >= rows * columns) return;
  const std::int64_t from = transpose ? e % rows * columns + e / rows : e;
  x[e] = from_float<bf16>(__fmul_rn(factor, m[from]));
}

__global__ void matrix_polynomial_kernel(bf16* out, const bf16* p, const bf16* q, std::int64_t n, float a,
                                         float b, float c) {
  const std::int64_t e = muon_element();
  if (e >= n * n) return;
  const float sum = __fadd_rn(__fmul_rn(b, to_float(p[e])), __fmul_rn(c, to_float(q[e])));
  out[e] = from_float<bf16>(e / n == e % n ? __fadd_rn(sum, a) : sum);
}

struct DirectionArgs {
  float* w;
  const bf16* x;
  bf16* working;  // null: not kept
  std::int64_t size, first, rows, columns;
  float keep, rate;
  bool transpose;
};

__global__ void apply_direction_kernel(DirectionArgs args) {
  const std::int64_t i = muon_element();
  if (i >= args.size) return;
  const std::int64_t e = args.first + i;
  const std::int64_t at = args.transpose ? e % args.columns * args.rows + e / args.columns : e;
  const float updated =
      __fsub_rn(__fmul_rn(args.keep, args.w[i]), __fmul_rn(args.rate, to_float(args.x[at])));
  args.w[i] = updated;
  if (args.working != nullptr) args.working[i] = from_float<bf16>(updated);
}

dim3 muon_grid(std::int64_t size) {
  return grid_of(ceil_div(size, kMuonThreads));
}

}  // namespace

void momentum(const Context& ctx, const Tensor& m, const Tensor& g, double beta, float factor) {
  if (m.size() == 0) return;
  momentum_kernel<<<muon_grid(m.size()), kMuonThreads, 0, stream_of(ctx)>>>(
      address<float>(m), address<const float>(g), m.size(), static_cast<float>(beta), factor);
  check_launch("momentum");
}

void scaled_matrix(const Context& ctx, const Tensor& x, const Tensor& m, double factor, bool transpose) {
  if (x.size() == 0) return;
  scaled_matrix_kernel<<<muon_grid(x.size()), kMuonThreads, 0, stream_of(ctx)>>>(
      address<bf16>(x), address<const float>(m), m.dim(0), m.dim(1), static_cast<float>(factor), transpose);
  check_launch("scaled_matrix");
}

void matrix_polynomial(const Context& ctx, const Tensor& out, const Tensor& p, const Tensor& q, double a,
                       double b, double c) {
  if (out.size() == 0) return;
  matrix_polynomial_kernel<<<muon_grid(out.size()), kMuonThreads, 0, stream_of(ctx)>>>(
      address<bf16>(out), address<const bf16>(p), address<const bf16>(q), out.dim(0), static_cast<float>(a),
      static_cast<float>(b), static_cast<float>(c));
  check_launch("matrix_polynomial");
}

void apply_direction(const Context& ctx, const Tensor& w, const Tensor& x, const DirectionStep& step,
                     const Tensor& working) {
  if (w.size() == 0) return;
  const DirectionArgs args = {address<float>(w),
                              address<const bf16>(x),
                              address<bf16>(working),
                              w.size(),
                              step.first,
                              x.size() / step.columns,
                              step.columns,
                              static_cast<float>(step.keep),
                              static_cast<float>(step.rate),
                              step.transpose};
  apply_direction_kernel<<<muon_grid(w.size()), kMuonThreads, 0, stream_of(ctx)>>>(args);
  check_launch("apply_direction");
}

}  // namespace rlcpp::ops::cuda
