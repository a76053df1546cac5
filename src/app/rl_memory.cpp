#include "app/rl_memory.h"

#include "app/run_engine.h"
#include "app/run_model.h"
#include "app/run_training.h"

namespace rlcpp::app {

void require_rl_memory(const RlConfig& config, const ops::Context& ctx, const model::ModelConfig& model,
                       const rollout::EngineConfig& engine, std::size_t teacher,
                       const train::Sharding& sharding, const MemoryLimits& limits) {
  const RlTrainerSection& trainer = config.trainer;
  AdviceKeys keys;
  keys.model = "--trainer.model.";
  keys.optim = "--trainer.optim.";
  keys.seq_len = "--trainer.model.seq-len";
  keys.seq_len_cost = "shorter rows";
  keys.shorter_is_same = true;
  keys.least_seq_len = config.orchestrator.seq_len;
  keys.least_pages = (engine.max_model_len + engine.page_size - 1) / engine.page_size;
  keys.parameters = model.parameters();
  require_memory(
      {trainer.model, trainer.optim, config.row_tokens(), 1, engine.num_pages, engine.max_batch_tokens}, keys,
      limits, [&](const Plannable& p) {
        const model::ModelConfig shape = planned_shape(model, p);
        train::TrainerOptions options =
            trainer_options(p.model, p.optim, trainer.scheduler, config.run, config.max_steps, p.seq_len);
        options.sharding = sharding;
        MemoryPlan plan = plan_rank(ctx, shape, options, config.max_model_len_of()).plan;
        if (teacher > 0) {
          plan.add(MemoryUse::kWeights, "teacher", DType::kU8, {static_cast<std::int64_t>(teacher)});
        }
        rollout::EngineConfig changed = engine;
        changed.num_pages = p.num_pages;
        changed.max_batch_tokens = p.max_batch_tokens;
        plan_engine(ctx, shape, changed, plan);
        return plan;
      });
}

}  // namespace rlcpp::app
