// A rollout engine of a command: planned with the scratch of its context, as many pages as fit, and made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "app/run_model.h"
#include "ops/context.h"
#include "rollout/engine.h"
#include "tensor/arena.h"

namespace rlcpp::app {

struct EngineRegions {
  std::shared_ptr<rollout::Engine::Regions> engine;
  RegionId scratch;  // of the operations of its context; none on the CPU
};
// `ctx` is the engine's own: the scratch is for its calls alone. Throws as Engine::plan does.
EngineRegions plan_engine(const ops::Context& ctx, const model::ModelConfig& model,
                          const rollout::EngineConfig& config, MemoryPlan& plan);

// The engine on memory that plan_engine() put into the arena, with the policy of `memory`. All outlive it.
std::unique_ptr<rollout::Engine> make_engine(const ops::Context& ctx, const model::ModelConfig& model,
                                             const rollout::EngineConfig& config, const Arena& arena,
                                             const EngineRegions& regions, const ModelMemory& memory,
                                             std::function<std::string(std::int32_t)> token_bytes);

// Pages of an engine like `engine` that `planned` and the rest of it leave room for in `limit` bytes (0:
// unknown): nine tenths of what is free, at most enough for max_sequences of full length, at least for one.
std::int64_t pages_that_fit(const ops::Context& ctx, const model::ModelConfig& model,
                            rollout::EngineConfig engine, const MemoryPlan& planned, std::size_t limit);

}  // namespace rlcpp::app
