#include "ops/context.h"

#include "ops/cpu/kernels.h"

namespace rlcpp::ops {

Context make_context(Device device, ThreadPool& pool) {
  Context ctx;
  ctx.device = device;
  ctx.mode = NumericMode::kExact;
  ctx.pool = &pool;
  ctx.kernels = &cpu::best_kernels();
  return ctx;
}

std::string instruction_set() {
  return cpu::best_kernels().name;
}

}  // namespace rlcpp::ops
