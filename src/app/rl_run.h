// Reinforcement learning as a call: what `rlcpp rl` does after its arguments are read.
#pragma once

#include "app/command.h"
#include "app/rl_config.h"
#include "base/error.h"

namespace rlcpp::app {

// `loaded` says where values came from; `invocation` gives logging, --dry-run, --json and the command line.
// Prints the banner and step lines to the log, the result (or the dry run's prompts) to stdout. Stops with
// runtime_failure, naming step, rollout, token and both values, if the trainer sees a sampled token with
// another log-probability than the engine (exact mode).
ExitCode run_rl(RlConfig config, const config::Loaded& loaded, const Invocation& invocation);

}  // namespace rlcpp::app
