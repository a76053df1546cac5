// What a trainer of rollouts plans, and the ways out if it does not fit.
#include "app/memory_advice.h"
#include "app/rl_trainer_parts.h"

namespace rlcpp::app {

void require_trainer_memory(const TrainerConfig& config, const RunModel& model, const ops::Context& ctx,
                            bool absent, std::size_t limit) {
  AdviceKeys keys;
  keys.parameters = model.config.parameters();
  keys.seq_len = "--model.seq-len";
  keys.seq_len_cost = "shorter rows";
  require_memory({config.model, config.optim, config.seq_len()}, keys,
                 memory_limits(ctx.device, absent, limit, 0), [&](const Plannable& p) {
                   MemoryPlan plan;
                   const model::ModelConfig shape = planned_shape(model.config, p);
                   plan_model(ctx, shape, plan, p.seq_len, p.model.optim_cpu_offload);
                   train::Trainer::plan(ctx, shape,
                                        trainer_options(p.model, p.optim, config.scheduler, config.run,
                                                        config.max_steps, p.seq_len),
                                        plan);
                   return plan;
                 });
}

}  // namespace rlcpp::app
