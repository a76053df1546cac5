#include "ops/cuda/few_rows.h"

#include "base/error.h"
#include "ops/cuda/narrow_product.h"

namespace rlcpp::ops::cuda {
namespace {

void run(const Context& ctx, const NarrowProduct& product) {
  RLCPP_CHECK(narrow_product(ctx, product));
}

}  // namespace

void norm_linear_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain, float eps,
                     const Tensor& w, const Tensor& bias) {
  run(ctx, {.y = y, .x = x, .w = w, .bias = bias, .gain = gain, .eps = eps, .overlapped = true});
}

void norm_linear_swiglu_few(const Context& ctx, const Tensor& y, const Tensor& x, const Tensor& gain,
                            float eps, const Tensor& w, const Tensor& bias) {
  run(ctx,
      {.y = y, .x = x, .w = w, .bias = bias, .gain = gain, .eps = eps, .swiglu = true, .overlapped = true});
}

void linear_add_few(const Context& ctx, const Tensor& residual, const Tensor& x, const Tensor& w,
                    const Tensor& bias) {
  run(ctx, {.y = residual, .x = x, .w = w, .bias = bias, .add = true, .overlapped = true});
}

}  // namespace rlcpp::ops::cuda
