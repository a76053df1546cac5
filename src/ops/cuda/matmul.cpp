#include "ops/cuda/matmul.h"

#include <algorithm>

#include "base/error.h"
#include "ops/cuda/fp8.h"
#include "ops/cuda/matmul_cuda.h"
#include "ops/cuda/narrow_product.h"
#include "ops/cuda/partials.h"

namespace rlcpp::ops::cuda {
namespace {

// bias may be empty.
void queue_product(const Context& ctx, const Tensor& out, const Tensor& a, bool transpose_a, const Tensor& b,
                   bool transpose_b, const Tensor& bias, bool accumulate, std::int64_t lda) {
  RLCPP_CHECK(out.rank() == 2 && a.rank() == 2 && b.rank() == 2);
  RLCPP_CHECK(a.dtype() == DType::kBF16 && b.dtype() == DType::kBF16);
  RLCPP_CHECK(out.dtype() == DType::kF32 || out.dtype() == DType::kBF16);
  ProductCall call;
  call.m = a.dim(transpose_a ? 1 : 0);
  call.k = a.dim(transpose_a ? 0 : 1);
  call.n = b.dim(transpose_b ? 0 : 1);
  RLCPP_CHECK(b.dim(transpose_b ? 1 : 0) == call.k);
  RLCPP_CHECK(out.dim(0) == call.m && out.dim(1) == call.n);
  RLCPP_CHECK(lda == 0 || lda >= a.dim(1));
  call.a = a.raw();
  call.lda = lda == 0 ? a.dim(1) : lda;
  call.transpose_a = transpose_a;
  call.b = b.raw();
  call.ldb = b.dim(1);
  call.transpose_b = transpose_b;
  call.out = out.raw();
  call.out_type = out.dtype();
  call.bias = bias.raw();
  call.accumulate = accumulate;
  ctx.cuda->products().run(call);
}

}  // namespace

RowParts row_parts(std::int64_t m, std::int64_t n, std::int64_t rows) {
  // Tiles of 128 x 128, one a multiprocessor; a part is long enough to be worth its result.
  constexpr std::int64_t kTile = 128, kWanted = 128, kMost = 16, kStep = 64, kShortest = 512;
  const std::int64_t tiles = ((m + kTile - 1) / kTile) * ((n + kTile - 1) / kTile);
  if (tiles == 0) return {};
  std::int64_t parts = std::min({kWanted / tiles, kMost, rows / kShortest});
  const auto fits = static_cast<std::int64_t>(kBatchResults / sizeof(float)) / (m * n);
  parts = std::min(parts, fits);
  if (parts < 2) return {};
  return {parts, rows / parts / kStep * kStep};
}

void product_into(const Context& ctx, const Tensor& out, const Tensor& a, bool transpose_a, const Tensor& b,
                  bool transpose_b, bool accumulate, std::int64_t lda) {
  queue_product(ctx, out, a, transpose_a, b, transpose_b, {}, accumulate, lda);
}

void product_logits(const Context& ctx, const Tensor& logits_f32, const Tensor& hidden_bf16,
                    const Tensor& w_bf16) {
  RLCPP_CHECK(logits_f32.dtype() == DType::kF32);
  if (ctx.mode == NumericMode::kFast && narrow_product(ctx, {.y = logits_f32, .x = hidden_bf16, .w = w_bf16}))
    return;
  product_into(ctx, logits_f32, hidden_bf16, false, w_bf16, true, /*accumulate=*/false);
}

void measure_products(const Context& ctx) {
  ctx.cuda->products().set_tuning(true);
}

std::vector<std::string> take_product_warnings(const Context& ctx) {
  return ctx.cuda->products().take_warnings();
}

void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias,
                    bool accumulate) {
  if (ctx.mode == NumericMode::kFast && !accumulate &&
      narrow_product(ctx, {.y = y, .x = x, .w = w, .bias = bias}))
    return;
  queue_product(ctx, y, x, false, w, true, bias, accumulate, 0);
}

void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate) {
  product_into(ctx, dx, dy, false, w, false, accumulate);
}

// dw += dy^T x in `parts` parts of `rows` rows, which multiprocessors add side by side; then the parts in
// order.
void queue_parts(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                 const RowParts& parts) {
  ProductCall call;
  call.m = dw.dim(0);
  call.n = dw.dim(1);
  call.k = parts.rows;
  call.a = dy.raw();
  call.lda = dy.dim(1);
  call.transpose_a = true;
  call.b = x.raw();
  call.ldb = x.dim(1);
  call.out = ctx.cuda->products().batch_results();
  call.out_type = DType::kF32;
  call.batch = parts.parts;
  ctx.cuda->products().run(call);
  add_partials(stream_of(ctx), static_cast<float*>(dw.raw()), static_cast<const float*>(call.out),
               parts.parts, dw.size(), dw.size());
}

void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate) {
  const RowParts parts = row_parts(dw.dim(0), dw.dim(1), dy.dim(0));
  // The rows that no part has, first: they may be none, then dw becomes 0 or stays.
  const std::int64_t rest = dy.dim(0) - parts.parts * parts.rows, from = dy.dim(0) - rest;
  product_into(ctx, dw, dy.rows(from, rest), true, x.rows(from, rest), false, accumulate);
  if (parts.parts > 0) queue_parts(ctx, dw, dy, x, parts);
}

bool has_fp8(const Context& ctx) {
  int major = 0, minor = 0;
  const int device = ctx.device.index;
  rlcpp::cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "has_fp8");
  rlcpp::cuda::check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "has_fp8");
  return 10 * major + minor >= 89;
}

void fp8_product(const Context& ctx, const Tensor& out, const Tensor& a, const Tensor& scale_a,
                 const Tensor& b, const Tensor& scale_b, const Tensor& bias, bool accumulate, Fp8Sums sums) {
  ProductCall call;
  call.m = a.dim(0);
  call.n = b.dim(0);
  call.k = call.lda = call.ldb = a.dim(1);
  call.a = a.raw();
  call.b = b.raw();
  call.transpose_b = true;
  call.out = out.raw();
  call.out_type = out.dtype();
  call.bias = bias.raw();
  call.accumulate = accumulate;
  call.fp8 = {static_cast<const float*>(scale_a.raw()), static_cast<const float*>(scale_b.raw()),
              sums == Fp8Sums::kQuick};
  ctx.cuda->products().run(call);
}

}  // namespace rlcpp::ops::cuda
