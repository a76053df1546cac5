// SGD and sign-SGD: memory is all that counts, so one element a thread. Every operation is rounded by itself
// and in the order of the CPU (ops/cpu/optimizer_sgd.cpp), so the two give the same bits.
#include "ops/cuda/launch.cuh"
#include "ops/cuda/optimizer.h"

namespace rlcpp::ops::cuda {
namespace {

constexpr int kSgdThreads = 256;

struct SgdArgs {
  float* w;
  float* m;  // null: no momentum
  const float* g;
  bf16* working;  // null: not kept
  std::int64_t size;
  float lr, momentum, decay, gradient_scale;
  bool nesterov;
};

__global__ void __launch_bounds__(kSgdThreads) sgd_kernel(SgdArgs args) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kSgdThreads + threadIdx.x;
  if (i >= args.size) return;
  const float weight = args.w[i];
  float direction = __fmul_rn(args.g[i], args.gradient_scale);
  direction = __fadd_rn(direction, __fmul_rn(args.decay, weight));
  if (args.m != nullptr) {
    const float moment = __fadd_rn(__fmul_rn(args.momentum, args.m[i]), direction);
    args.m[i] = moment;
    direction = args.nesterov ? __fadd_rn(direction, __fmul_rn(args.momentum, moment)) : moment;
  }
  const float updated = __fsub_rn(weight, __fmul_rn(args.lr, direction));
  args.w[i] = updated;
  if (args.working != nullptr) args.working[i] = from_float<bf16>(updated);
}

struct SignArgs {
  float* w;
  const float* g;
  bf16* working;  // null: not kept
  std::int64_t size;
  float lr, keep;
};

__global__ void __launch_bounds__(kSgdThreads) sign_sgd_kernel(SignArgs args) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kSgdThreads + threadIdx.x;
  if (i >= args.size) return;
  const float g = args.g[i];
  const float sign = (g > 0 ? 1.0F : 0.0F) - (g < 0 ? 1.0F : 0.0F);
  const float updated = __fsub_rn(__fmul_rn(args.w[i], args.keep), __fmul_rn(args.lr, sign));
  args.w[i] = updated;
  if (args.working != nullptr) args.working[i] = from_float<bf16>(updated);
}

}  // namespace

void sgd(const Context& ctx, const Tensor& w, const Tensor& m, const Tensor& g, const SgdStep& step,
         const Tensor& working) {
  if (w.size() == 0) return;
  const SgdArgs args = {address<float>(w),
                        m.empty() ? nullptr : address<float>(m),
                        address<const float>(g),
                        address<bf16>(working),
                        w.size(),
                        static_cast<float>(step.lr),
                        static_cast<float>(step.momentum),
                        static_cast<float>(step.weight_decay),
                        step.gradient_scale,
                        step.nesterov};
  sgd_kernel<<<grid_of(ceil_div(args.size, kSgdThreads)), kSgdThreads, 0, stream_of(ctx)>>>(args);
  check_launch("sgd");
}

void sign_sgd(const Context& ctx, const Tensor& w, const Tensor& g, const SignStep& step,
              const Tensor& working) {
  if (w.size() == 0) return;
  const SignArgs args = {address<float>(w),           address<const float>(g),
                         address<bf16>(working),      w.size(),
                         static_cast<float>(step.lr), static_cast<float>(1.0 - step.lr * step.weight_decay)};
  sign_sgd_kernel<<<grid_of(ceil_div(args.size, kSgdThreads)), kSgdThreads, 0, stream_of(ctx)>>>(args);
  check_launch("sign_sgd");
}

}  // namespace rlcpp::ops::cuda
