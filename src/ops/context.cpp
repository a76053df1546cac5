#include "ops/context.h"

#include "base/error.h"
#include "ops/cpu/kernels.h"
#include "ops/cuda/runtime.h"

namespace rlcpp::ops {

NumericMode default_mode(Device device) {
  return device.kind == DeviceKind::kCuda ? NumericMode::kFast : NumericMode::kExact;
}

Context make_context(Device device, ThreadPool& pool, std::optional<NumericMode> mode) {
  Context ctx = planning_context(device, pool, mode);
  if (ctx.on_gpu()) ctx.cuda = cuda::make_runtime(device, ctx.mode);
  return ctx;
}

Context planning_context(Device device, ThreadPool& pool, std::optional<NumericMode> mode) {
  Context ctx;
  ctx.device = device;
  ctx.mode = mode.value_or(default_mode(device));
  RLCPP_CHECK(ctx.on_gpu() || ctx.mode == NumericMode::kExact);
  ctx.pool = &pool;
  ctx.kernels = &cpu::best_kernels();
  return ctx;
}

void* stream_handle(const Context& ctx) {
  return ctx.on_gpu() ? cuda::stream_handle(*ctx.cuda) : nullptr;
}

void synchronize(const Context& ctx) {
  if (ctx.on_gpu()) cuda::synchronize(*ctx.cuda);
}

std::string instruction_set() {
  return cpu::best_kernels().name;
}

}  // namespace rlcpp::ops
