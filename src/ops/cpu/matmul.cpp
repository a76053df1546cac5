#include "ops/cpu/matmul.h"

#include <algorithm>

#include "ops/cpu/parallel.h"
#include "ops/cpu/product.h"

namespace rlcpp::ops::cpu {

std::int64_t packed_weight_size(std::int64_t n, std::int64_t k) {
  return panels_size(n, k);
}

void pack_weight(const Context& ctx, const Tensor& packed, const Tensor& w) {
  pack_panels(ctx, packed.f32(), w.f32(), w.dim(1), OperandB::kTransposed, w.dim(0), w.dim(1));
}

void linear_forward(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& w,
                    const Tensor& packed, const Tensor& bias, bool accumulate) {
  Product p;
  p.a = x.f32();
  p.lda = x.dim(1);
  p.b = packed.empty() ? w.f32() : packed.f32();
  p.ldb = w.dim(1);
  p.b_form = packed.empty() ? OperandB::kTransposed : OperandB::kPanels;
  p.c = y.f32();
  p.ldc = w.dim(0);
  p.m = x.dim(0);
  p.n = w.dim(0);
  p.k = w.dim(1);
  p.bias = bias.empty() ? nullptr : bias.f32();
  p.add_old = accumulate;
  product(ctx, p);
}

void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate) {
  Product p;
  p.a = dy.f32();
  p.lda = dy.dim(1);
  p.b = w.f32();
  p.ldb = w.dim(1);
  p.b_form = OperandB::kRows;
  p.c = dx.f32();
  p.ldc = w.dim(1);
  p.m = dy.dim(0);
  p.n = w.dim(1);
  p.k = w.dim(0);
  p.resume = accumulate;
  product(ctx, p);
}

void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate) {
  Product p;
  p.a = dy.f32();
  p.lda = dy.dim(1);
  p.a_transposed = true;
  p.b = x.f32();
  p.ldb = x.dim(1);
  p.b_form = OperandB::kRows;
  p.c = dw.f32();
  p.ldc = x.dim(1);
  p.m = dy.dim(1);
  p.n = x.dim(1);
  p.k = dy.dim(0);
  p.resume = accumulate;
  product(ctx, p);
}

void linear_backward_bias(const Context& ctx, const Tensor& db, const Tensor& dy, bool accumulate) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t n = db.dim(0);
  float* sum = db.f32();
  const float* from = dy.f32();
  if (!accumulate) std::fill_n(sum, n, 0.0F);
  parallel_blocks(ctx, n, 256, static_cast<double>(dy.size()), [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t r = 0; r < dy.dim(0); ++r) kernels.add_to(sum + begin, from + r * n + begin, count);
  });
}

}  // namespace rlcpp::ops::cpu
