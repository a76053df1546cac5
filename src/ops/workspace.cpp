#include "ops/workspace.h"

#include <algorithm>

#include "ops/attention_scratch.h"
#include "ops/cuda/runtime.h"

namespace rlcpp::ops {
namespace {

// What every product may use: 32 MiB is what cuBLAS itself takes on Hopper.
constexpr std::size_t kProducts = std::size_t{32} << 20;

// Attention's backward is the largest for rows of a usual length where cuDNN computes it; our own of Hopper
// takes less, and which GPU it will be is not known. Sorting tokens for the embedding's gradient
// takes a few words each and a sum for every 64 rows; the other operations take less.
std::size_t estimated_bytes(const WorkspaceNeeds& needs) {
  const auto tokens = static_cast<std::size_t>(needs.tokens);
  const std::size_t embedding =
      tokens * 32 + (tokens / 64 + 1) * static_cast<std::size_t>(needs.hidden_size) * 4 + (1 << 20);
  return std::max({kProducts, embedding, attention_backward_scratch(needs.shape, needs.tokens)});
}

}  // namespace

std::size_t workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs) {
  if (!ctx.on_gpu()) return 0;
  return ctx.cuda != nullptr ? cuda::workspace_bytes(*ctx.cuda, needs) : estimated_bytes(needs);
}

std::size_t head_workspace_bytes(const Context& ctx, const WorkspaceNeeds& needs) {
  if (!ctx.on_gpu()) return 0;
  return ctx.cuda != nullptr ? cuda::head_workspace_bytes(*ctx.cuda, needs) : kProducts;
}

void use_workspace(const Context& ctx, const Tensor& memory) {
  if (ctx.on_gpu()) cuda::use_workspace(*ctx.cuda, memory);
}

}  // namespace rlcpp::ops
