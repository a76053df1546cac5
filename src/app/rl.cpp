// rlcpp rl: reinforcement learning in one process.
#include "app/command.h"
#include "app/rl_run.h"
#include "app/rl_trainer.h"

namespace rlcpp::app {

Command rl_command() {
  Command command;
  command.name = "rl";
  command.summary = "Train a model on rewards of its own answers (reinforcement learning).";
  command.usage = "rlcpp rl @ FILE.toml [--key value ...]";
  command.examples = {"rlcpp rl @ configs/rl/reverse-text.toml --model.name outputs/sft/weights/step_40",
                      "rlcpp rl @ configs/rl/reverse-text.toml --dry-run"};
  describe_options<RlConfig>(command);
  command.run = [](const Invocation& invocation) {
    RlConfig config;
    const config::Loaded loaded = config::load(config::describer(config), invocation.arguments);
    if (config.bench.has_value())
      return run_trainer_command(trainer_of(config, loaded.origins), loaded, invocation);
    return static_cast<int>(run_rl(config, loaded, invocation));
  };
  return command;
}

}  // namespace rlcpp::app
