#include "ops/context.h"

#include "ops/cpu/kernels.h"
#include "ops/cuda/runtime.h"

namespace rlcpp::ops {

Context make_context(Device device, ThreadPool& pool) {
  Context ctx = planning_context(device, pool);
  if (ctx.on_gpu()) ctx.cuda = cuda::make_runtime(device);
  return ctx;
}

Context planning_context(Device device, ThreadPool& pool) {
  Context ctx;
  ctx.device = device;
  ctx.mode = ctx.on_gpu() ? NumericMode::kFast : NumericMode::kExact;
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
