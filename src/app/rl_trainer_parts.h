// The two ways of rl_trainer.h, and what they share; nobody else includes it.
#pragma once

#include <memory>

#include "app/rl_trainer.h"
#include "base/log.h"
#include "ops/context.h"
#include "tensor/arena.h"
#include "transport/files.h"

namespace rlcpp::app {

// Refuses a plan that does not fit the device or the host, with the changes that would. `absent`: the GPU is
// not here; `limit`: bytes of the device that the plan may take. Returns the level of ZeRO.
int require_trainer_memory(const TrainerConfig& config, const RunModel& model, const ops::Context& ctx,
                           const RankSetup& ranks, bool absent, std::size_t limit);

// The weights that the ranks of `team` hold together, as a policy that others load. Of several processes all
// come here, and the first one's result counts.
transport::Publication publish_weights(RankTeam& team, transport::FileWeightSender& sender,
                                       const model::ModelConfig& model, std::int64_t step,
                                       std::int64_t replay_from);

// Throws bad_input if rollouts that were received cannot be trained: of weights too old or too new, without
// what the loss reads, or of rows and documents that are too long.
void require_fitting(const transport::RolloutBatch& batch, const TrainerConfig& config,
                     const model::ModelConfig& model);

// Who trains in mode exact expects mismatch_kl 0, and has to have the rollouts sampled so too.
void warn_of_arithmetic(const transport::RolloutBatch& batch, const ops::Context& ctx, Logger& log);

// Made-up rollouts, no files but metrics.
TrainerOutcome train_on_fakes(TrainerConfig& config, const config::Loaded& loaded,
                              const Invocation& invocation, const TrainingHooks& hooks, Logger& log);

// Rollouts of an `rlcpp orchestrator`: waits for those of each step, publishes the weights after it, saves,
// and says at the end how it went.
TrainerOutcome train_on_rollouts(const TrainerConfig& config, const config::Loaded& loaded,
                                 const Invocation& invocation, Logger& log);

}  // namespace rlcpp::app
