// What a trainer of rollouts plans, and the ways out if it does not fit.
#include "app/rl_trainer_parts.h"

namespace rlcpp::app {

int require_trainer_memory(const TrainerConfig& config, const RunModel& model, const ops::Context& ctx,
                           const RankSetup& ranks, bool absent, std::size_t limit) {
  AdviceKeys keys;
  keys.parameters = model.config.parameters();
  keys.seq_len = "--model.seq-len";
  keys.seq_len_cost = "shorter rows";
  MemoryLimits limits = memory_limits(ctx.device, absent, limit, 0);
  limits.whole = config.run.memory_limit_bytes(ctx.device);
  const Plannable now{config.model, config.optim, config.seq_len()};
  return require_rank_memory(ctx, model.config, ranks, now, keys, limits, [&](const Plannable& p) {
    return trainer_options(p.model, p.optim, config.scheduler, config.run, config.max_steps, p.seq_len);
  });
}

}  // namespace rlcpp::app
