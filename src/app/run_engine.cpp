#include "app/run_engine.h"

#include <algorithm>
#include <utility>

#include "ops/workspace.h"
#include "rollout/step_buffers.h"

namespace rlcpp::app {

EngineRegions plan_engine(const ops::Context& ctx, const model::ModelConfig& model,
                          const rollout::EngineConfig& config, MemoryPlan& plan) {
  EngineRegions regions;
  regions.engine = rollout::Engine::plan(ctx, model, config, plan);
  ops::WorkspaceNeeds needs;
  needs.tokens = config.max_batch_tokens;
  needs.documents = rollout::whole_places(config.max_sequences);
  needs.hidden_size = model.hidden_size;
  needs.vocab_size = model.vocab_size;
  needs.shape = model.qkv();
  const std::size_t bytes = ops::workspace_bytes(ctx, needs);
  if (bytes > 0) {
    regions.scratch = plan.add(MemoryUse::kWorkspace, "engine.workspace of operations", DType::kU8,
                               {static_cast<std::int64_t>(bytes)});
  }
  return regions;
}

std::unique_ptr<rollout::Engine> make_engine(const ops::Context& ctx, const model::ModelConfig& model,
                                             const rollout::EngineConfig& config, const Arena& arena,
                                             const EngineRegions& regions, const ModelMemory& memory,
                                             std::function<std::string(std::int32_t)> token_bytes) {
  if (regions.scratch.index >= 0) ops::use_workspace(ctx, arena[regions.scratch]);
  return std::make_unique<rollout::Engine>(ctx, model, config, arena, regions.engine, memory.weights,
                                           memory.packed, memory.rope, std::move(token_bytes));
}

std::int64_t pages_that_fit(const ops::Context& ctx, const model::ModelConfig& model,
                            rollout::EngineConfig engine, const MemoryPlan& planned, std::size_t limit) {
  const std::int64_t least = (engine.max_model_len + engine.page_size - 1) / engine.page_size;
  const std::int64_t most = least * engine.max_sequences;
  if (limit == 0) return most;
  // With the smallest cache; each page more is so many bytes more.
  engine.num_pages = least;
  MemoryPlan smallest = planned;
  plan_engine(ctx, model, engine, smallest);
  const std::size_t page_bytes = static_cast<std::size_t>(model.num_layers * 2 * model.num_kv_heads *
                                                          model.head_dim * engine.page_size) *
                                 size_of(ctx.compute_type());
  // What is in no plan, other programs and what a GPU's libraries allocate, has the last tenth.
  const std::size_t room = limit > smallest.total_bytes() ? (limit - smallest.total_bytes()) / 10 * 9 : 0;
  return std::min(least + static_cast<std::int64_t>(room / page_bytes), most);
}

}  // namespace rlcpp::app
