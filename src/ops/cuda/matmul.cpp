#include "ops/cuda/matmul.h"

#include "base/error.h"
#include "ops/cuda/matmul_cuda.h"

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

void product_into(const Context& ctx, const Tensor& out, const Tensor& a, bool transpose_a, const Tensor& b,
                  bool transpose_b, bool accumulate, std::int64_t lda) {
  queue_product(ctx, out, a, transpose_a, b, transpose_b, {}, accumulate, lda);
}

void product_logits(const Context& ctx, const Tensor& logits_f32, const Tensor& hidden_bf16,
                    const Tensor& w_bf16) {
  RLCPP_CHECK(logits_f32.dtype() == DType::kF32);
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
  queue_product(ctx, y, x, false, w, true, bias, accumulate, 0);
}

void linear_backward_input(const Context& ctx, const Tensor& dx, const Tensor& dy, const Tensor& w,
                           bool accumulate) {
  product_into(ctx, dx, dy, false, w, false, accumulate);
}

void linear_backward_weight(const Context& ctx, const Tensor& dw, const Tensor& dy, const Tensor& x,
                            bool accumulate) {
  product_into(ctx, dw, dy, true, x, false, accumulate);
}

}  // namespace rlcpp::ops::cuda
