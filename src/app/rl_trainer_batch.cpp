// What the trainer asks of the rollouts that an orchestrator sends.
#include <algorithm>

#include <fmt/format.h>

#include "app/rl_trainer_parts.h"
#include "base/error.h"

namespace rlcpp::app {

void require_fitting(const transport::RolloutBatch& batch, const TrainerConfig& config,
                     const model::ModelConfig& model) {
  const std::int64_t newest = batch.step - 1, oldest = newest - config.max_async_level;
  if (batch.newest_version > newest || batch.oldest_version < oldest) {
    throw bad_input(
        fmt::format("the rollouts of step {} are of weights that do not belong to it", batch.step),
        fmt::format("they are of steps {} to {}; max_async_level = {} allows {} to {}", batch.oldest_version,
                    batch.newest_version, config.max_async_level, std::max<std::int64_t>(oldest, 0), newest),
        "give trainer and orchestrator the same max_async_level, and resume both from the same step");
  }
  if (batch.ranks != 1) {
    throw bad_input(fmt::format("the rollouts of step {} were packed for {} ranks", batch.step, batch.ranks),
                    "this trainer is one", "start both for the same number of ranks");
  }
  if (batch.micro_batches.empty())
    throw bad_input(fmt::format("step {} has no rollouts", batch.step), {}, "look at the orchestrator's log");
  for (const data::MicroBatch& row : batch.micro_batches) {
    if (!row.rl) {
      throw bad_input(fmt::format("a row of step {} has no rollouts", batch.step),
                      "it holds neither log-probabilities nor advantages", "look at the orchestrator's log");
    }
    if (config.loss.needs_teacher() && row.teacher_logprobs.empty()) {
      throw bad_input(fmt::format("the rollouts of step {} have no teacher log-probabilities", batch.step),
                      "loss.teacher_tau and loss.type = \"distill\" read them",
                      "set teacher_model.model.name of the orchestrator, or another loss");
    }
    for (std::size_t d = 0; d + 1 < row.cu_seqlens.size(); ++d) {
      const std::int64_t length = row.cu_seqlens[d + 1] - row.cu_seqlens[d];
      if (length <= model.max_position) continue;
      throw bad_input(
          fmt::format("a rollout of step {} has {} tokens", batch.step, length),
          fmt::format("config.json gives the model max_position_embeddings = {}", model.max_position),
          "lower the orchestrator's seq_len");
    }
    if (row.tokens() <= config.seq_len()) continue;
    throw bad_input(fmt::format("a row of step {} has {} tokens", batch.step, row.tokens()),
                    fmt::format("model.seq_len is {}", config.seq_len()),
                    "raise it to the orchestrator's row_tokens (or seq_len)");
  }
}

void warn_of_arithmetic(const transport::RolloutBatch& batch, const ops::Context& ctx, Logger& log) {
  const std::string mine = arithmetic_text(ctx);
  if (ctx.mode != ops::NumericMode::kExact || batch.arithmetic.empty() || batch.arithmetic == mine) return;
  log.warn(fmt::format(
      "the orchestrator samples {}, this trainer computes {}: mismatch_kl is not 0; for that start both "
      "with the same --device and --numeric-mode exact",
      batch.arithmetic, mine));
}

}  // namespace rlcpp::app
