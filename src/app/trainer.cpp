// rlcpp trainer: the trainer of RL alone, on fake rollouts.
#include "app/command.h"
#include "app/rl_trainer.h"

namespace rlcpp::app {

Command trainer_command() {
  Command command;
  command.name = "trainer";
  command.summary = "Train on fake rollouts (the RL trainer alone, for benchmarks).";
  command.usage = "rlcpp trainer --data.fake [--key value ...]";
  command.examples = {
      "rlcpp trainer --bench --model.name Qwen/Qwen3-0.6B --model.seq-len 512",
      "rlcpp trainer --data.fake.generate-samples --model.name configs/models/qwen3-1m --max-steps 20"};
  describe_options<TrainerConfig>(command);
  command.run = [](const Invocation& invocation) {
    TrainerConfig config;
    const config::Loaded loaded = config::load(config::describer(config), invocation.arguments);
    return run_trainer_command(std::move(config), loaded, invocation);
  };
  return command;
}

}  // namespace rlcpp::app
