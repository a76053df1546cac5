// The two ways of rl_trainer.h, and what they share; nobody else includes it.
#pragma once

#include <memory>

#include "app/rl_trainer.h"
#include "base/log.h"
#include "ops/context.h"
#include "tensor/arena.h"

namespace rlcpp::app {

// Made-up rollouts, no files but metrics.
TrainerOutcome train_on_fakes(TrainerConfig& config, const config::Loaded& loaded,
                              const Invocation& invocation, const TrainerHooks& hooks, Logger& log);

// Rollouts of an `rlcpp orchestrator`: waits for those of each step, publishes the weights after it, saves,
// and says at the end how it went.
TrainerOutcome train_on_rollouts(const TrainerConfig& config, const config::Loaded& loaded,
                                 const Invocation& invocation, Logger& log);

}  // namespace rlcpp::app
