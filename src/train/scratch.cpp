#include "train/scratch.h"

#include <algorithm>

#include "base/error.h"
#include "ops/workspace.h"

namespace rlcpp::train {
namespace {

constexpr std::int64_t kRowsOfCpu = 256;
// More were hardly faster on an H100 (docs/performance.md). On Hopper the memory of 2048 rows in f32 is that
// of 4096 in bf16, and the last 64 are for what the head keeps a row (ops/cuda/head_hopper.cu).
constexpr std::int64_t kRowsOfGpu = 2048 + 64;

}  // namespace

ScratchRegions plan_scratch(const ops::Context& ctx, const model::ModelConfig& model,
                            const TrainerOptions& options, MemoryPlan& plan) {
  RLCPP_CHECK(options.max_tokens > 0 && options.head_chunk.value_or(1) > 0);
  ops::WorkspaceNeeds needs;
  needs.tokens = needs.documents = options.max_tokens;
  needs.hidden_size = model.hidden_size;
  needs.vocab_size = model.vocab_size;
  needs.shape = model.qkv();
  const std::size_t wanted = ops::workspace_bytes(ctx, needs);
  const std::size_t of_head = ops::head_workspace_bytes(ctx, needs);
  const std::int64_t rows =
      std::min(options.max_tokens, options.head_chunk.value_or(ctx.on_gpu() ? kRowsOfGpu : kRowsOfCpu));
  ScratchRegions regions;
  if (wanted == 0) {
    regions.logits = plan.add(MemoryUse::kLogits, "head.logits", DType::kF32, {rows, model.vocab_size});
    return regions;
  }
  const std::size_t logits = sizeof(float) * static_cast<std::size_t>(rows * model.vocab_size);
  regions.workspace = plan.add(MemoryUse::kWorkspace, "workspace of operations", DType::kU8,
                               {static_cast<std::int64_t>(std::max(wanted, of_head + logits))});
  regions.logits = plan.alias(regions.workspace, MemoryUse::kLogits, "head.logits", DType::kF32,
                              {rows, model.vocab_size}, of_head);
  return regions;
}

}  // namespace rlcpp::train
