#include <fmt/format.h>

#include "app/rl_trainer_parts.h"
#include "app/run_bench.h"
#include "app/run_clock.h"
#include "app/run_console.h"
#include "app/run_start.h"

namespace rlcpp::app {

TrainerOutcome run_trainer(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation,
                           const TrainingHooks& hooks) {
  config.apply_bench();
  const bool fake = config.data.fake.has_value();
  return with_run(config.run, config.log, invocation, !fake && config.ckpt.has_value(), [&](Logger& log) {
    return fake ? train_on_fakes(config, loaded, invocation, hooks, log)
                : train_on_rollouts(config, loaded, invocation, log);
  });
}

int run_trainer_command(TrainerConfig config, const config::Loaded& loaded, const Invocation& invocation) {
  config.apply_bench();
  if (!config.bench.has_value()) {
    const TrainerOutcome outcome = run_trainer(config, loaded, invocation);
    if (invocation.dry_run || !outcome.first) return static_cast<int>(outcome.exit);
    if (!config.data.fake.has_value()) return static_cast<int>(outcome.exit);  // it has said all
    RunResult result;
    result.title = outcome.exit == ExitCode::kDone ? "Trainer finished" : "Trainer stopped by a signal";
    result.rows = {{"steps", fmt::format("{}", outcome.steps)},
                   {"loss", fmt::format("{:.4f} -> {:.4f}", outcome.first_loss, outcome.last_loss)},
                   {"time", monitor::duration(outcome.seconds)},
                   {"memory", outcome.memory},
                   {"weights", "not saved: fake rollouts"}};
    result.values = {{"steps", outcome.steps},
                     {"loss_first", outcome.first_loss},
                     {"loss_last", outcome.last_loss},
                     {"seconds", outcome.seconds},
                     {"weights", nullptr}};
    print_result(invocation.json ? result_json(result) : result_text(result));
    return static_cast<int>(outcome.exit);
  }
  BenchRun record(*config.bench, {.type = "rl",
                                  .model_name = config.model.name,
                                  .seq_len = config.seq_len(),
                                  .micro_batches = config.data.fake->batch_size,
                                  .ac = ac_text(config.model),
                                  .publication = config.bench->publish_dir.has_value() ? "files" : "",
                                  .memory_limit = config.run.memory_limit.value_or(""),
                                  .numeric_mode = mode_text(config.model, config.run)});
  const TrainerOutcome outcome = run_trainer(config, loaded, invocation, record.hooks());
  if (outcome.exit == ExitCode::kDone && outcome.first && !invocation.dry_run) record.finish(invocation.json);
  return static_cast<int>(outcome.exit);
}

}  // namespace rlcpp::app
