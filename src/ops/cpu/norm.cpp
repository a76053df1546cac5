#include "ops/cpu/norm.h"

#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace rlcpp::ops::cpu {
namespace {

constexpr std::int64_t kBlock = 64;  // rows whose weight gradients are summed apart

}  // namespace

void rmsnorm_forward(const Context& ctx, const Tensor& y, const Tensor& rstd, const Tensor& residual,
                     const Tensor& x, const Tensor& w, float eps) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t h = w.dim(0);
  float* sum = residual.empty() ? nullptr : residual.f32();
  parallel_blocks(
      ctx, x.dim(0), kBlock, 2.0 * static_cast<double>(x.size()), [&](std::int64_t r, std::int64_t count) {
        kernels.rmsnorm_rows(y.f32() + r * h, rstd.f32() + r, sum != nullptr ? sum + r * h : nullptr,
                             x.f32() + r * h, w.f32(), count, h, eps);
      });
}

void rmsnorm_backward(const Context& ctx, const Tensor& dx, const Tensor& dw, const Tensor& dy,
                      const Tensor& x, const Tensor& w, const Tensor& rstd, bool accumulate_dx) {
  const Kernels& kernels = kernels_of(ctx);
  const std::int64_t h = w.dim(0);
  const std::int64_t blocks = blocks_of(x.dim(0), kBlock);
  float* partial = dw.empty() ? nullptr : thread_scratch(Scratch::kReduction, blocks * h);
  parallel_blocks(ctx, x.dim(0), kBlock, 4.0 * static_cast<double>(x.size()),
                  [&](std::int64_t r, std::int64_t count) {
                    kernels.rmsnorm_backward_rows(
                        dx.f32() + r * h, partial != nullptr ? partial + r / kBlock * h : nullptr,
                        dy.f32() + r * h, x.f32() + r * h, w.f32(), rstd.f32() + r, count, h, accumulate_dx);
                  });
  if (partial == nullptr) return;
  for (std::int64_t b = 0; b < blocks; ++b) kernels.add_to(dw.f32(), partial + b * h, h);
}

}  // namespace rlcpp::ops::cpu
