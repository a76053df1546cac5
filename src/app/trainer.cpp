// rlcpp trainer: the training half of reinforcement learning, for an `rlcpp orchestrator` beside it.
#include "app/command.h"
#include "app/rl_trainer.h"

namespace rlcpp::app {

Command trainer_command() {
  Command command;
  command.name = "trainer";
  command.summary = "Train on the rollouts of an `rlcpp orchestrator` in another process, or on fake ones.";
  command.usage = "rlcpp trainer @ FILE.toml [--key value ...]";
  command.examples = {
      "rlcpp trainer --bench --model.name Qwen/Qwen3-0.6B --model.seq-len 512",
      "rlcpp trainer --model.name DIR --model.seq-len 2048 --max-steps 100 --output-dir outputs"};
  describe_options<TrainerConfig>(command);
  command.run = [](const Invocation& invocation) {
    TrainerConfig config;
    const config::Loaded loaded = config::load(config::describer(config), invocation.arguments);
    config.refuse_idle(loaded.origins);
    return run_trainer_command(std::move(config), loaded, invocation);
  };
  return command;
}

}  // namespace rlcpp::app
