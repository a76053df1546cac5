// What a trainer of rollouts plans, and the ways out if it does not fit.
#include <algorithm>

#include "app/memory_advice.h"
#include "app/rl_trainer_parts.h"

namespace rlcpp::app {

int require_trainer_memory(const TrainerConfig& config, const RunModel& model, const ops::Context& ctx,
                           const RankSetup& ranks, bool absent, std::size_t limit) {
  AdviceKeys keys;
  keys.parameters = model.config.parameters();
  keys.seq_len = "--model.seq-len";
  keys.seq_len_cost = "shorter rows";
  const MemoryLimits limits = memory_limits(ctx.device, absent, limit, 0);
  const Plannable now{config.model, config.optim, config.seq_len()};
  const auto planned = [&](const Plannable& p, int zero) {
    train::TrainerOptions options =
        trainer_options(p.model, p.optim, config.scheduler, config.run, config.max_steps, p.seq_len);
    options.sharding = ranks.sharding(0, zero);
    return plan_rank(ctx, planned_shape(model.config, p), options, positions_of(model.config, p.seq_len))
        .plan;
  };
  const int zero = choose_zero(ranks, [&](int level) { return limits.fits(planned(now, level)); });
  require_memory(now, keys, limits, [&](const Plannable& p) { return planned(p, zero); });
  return zero;
}

std::int64_t positions_of(const model::ModelConfig& model, std::int64_t seq_len) {
  return std::min(seq_len, model.max_position);
}

}  // namespace rlcpp::app
