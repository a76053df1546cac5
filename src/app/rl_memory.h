// Whether an RL run fits its device, trainer and engine together, and what to change if not.
#pragma once

#include "app/memory_advice.h"
#include "app/rl_config.h"
#include "ops/context.h"
#include "rollout/engine.h"

namespace rlcpp::app {

// Throws environment_error with changes that fit, as require_memory(). `teacher`: bytes of the plan that are
// the teacher's; `sharding`: of one of several ranks, whose limits these are.
void require_rl_memory(const RlConfig& config, const ops::Context& ctx, const model::ModelConfig& model,
                       const rollout::EngineConfig& engine, std::size_t teacher,
                       const train::Sharding& sharding, const MemoryLimits& limits);

}  // namespace rlcpp::app
