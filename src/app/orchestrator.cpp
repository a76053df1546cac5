// rlcpp orchestrator: the sampling half of reinforcement learning, for an `rlcpp trainer` beside it.
#include "app/command.h"
#include "app/orchestrator_run.h"

namespace rlcpp::app {

Command orchestrator_command() {
  Command command;
  command.name = "orchestrator";
  command.summary = "Sample, score and pack rollouts for an `rlcpp trainer` in another process.";
  command.usage = "rlcpp orchestrator @ FILE.toml [--key value ...]";
  command.examples = {
      "rlcpp orchestrator --model.name DIR --rollouts-per-example 8 --output-dir outputs/run_default",
      "rlcpp orchestrator @ orch.toml --max-async-level 0 --ckpt.resume-step -1"};
  describe_options<OrchestratorConfig>(command);
  command.run = [](const Invocation& invocation) {
    OrchestratorConfig config;
    const config::Loaded loaded = config::load(config::describer(config), invocation.arguments);
    return static_cast<int>(run_orchestrator(std::move(config), loaded, invocation).exit);
  };
  return command;
}

}  // namespace rlcpp::app
