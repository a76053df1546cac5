#include "ops/workspace.h"

#include "ops/cuda/runtime.h"

namespace rlcpp::ops {

std::size_t workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs) {
  return ctx.on_gpu() ? cuda::workspace_bytes(*ctx.cuda, needs) : 0;
}

std::size_t head_workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs) {
  return ctx.on_gpu() ? cuda::head_workspace_bytes(*ctx.cuda, needs) : 0;
}

void use_workspace(const Context& ctx, const Tensor& memory) {
  if (ctx.on_gpu()) cuda::use_workspace(*ctx.cuda, memory);
}

}  // namespace rlcpp::ops
