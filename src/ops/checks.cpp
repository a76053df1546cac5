#include "ops/checks.h"

#include <fmt/format.h>

namespace rlcpp::ops {

void require_cpu(const Context& ctx, const char* operation) {
  if (ctx.device.kind == DeviceKind::kCpu) return;
  throw environment_error(fmt::format("the operation {} is not available on a GPU in this build", operation),
                          "its CUDA form is not part of this version", "run with --device cpu");
}

}  // namespace rlcpp::ops
