#include "ops/cpu/swiglu.h"

#include "ops/cpu/parallel.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kSwigluBlock = 16;

}  // namespace

void swiglu_forward(const Context& ctx, const Tensor& y, const Tensor& gate_up) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t inner = y.dim(1);
  parallel_blocks(ctx, y.dim(0), kSwigluBlock, 12.0 * static_cast<double>(y.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    kernels.swiglu_rows(y.f32() + r * inner, gate_up.f32() + r * 2 * inner, count, inner);
                  });
}

void swiglu_backward(const Context& ctx, const Tensor& dgate_up, const Tensor& dy, const Tensor& gate_up) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t inner = dy.dim(1);
  parallel_blocks(ctx, dy.dim(0), kSwigluBlock, 16.0 * static_cast<double>(dy.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    kernels.swiglu_backward_rows(dgate_up.f32() + r * 2 * inner, dy.f32() + r * inner,
                                                 gate_up.f32() + r * 2 * inner, count, inner);
                  });
}

}  // namespace rlcpp::ops::cpu
