// Sampling as a process of its own: what `rlcpp orchestrator` does after its arguments are read. It waits for
// the trainer's weights, samples and scores a batch, packs it, and sends it.
#pragma once

#include <cstdint>
#include <string>

#include "app/command.h"
#include "app/orchestrator_config.h"

namespace rlcpp::app {

// Name of its lines in metrics.jsonl.
inline constexpr const char* kOrchestratorProducer = "orchestrator";

struct OrchestratorOutcome {
  ExitCode exit = ExitCode::kDone;
  std::int64_t steps = 0;  // of the whole run, earlier processes included
};

// `loaded` says where values came from; `invocation` gives logging, --dry-run, --json and the command line.
// Throws runtime_failure, naming the trainer, if its weights do not come in time.
OrchestratorOutcome run_orchestrator(OrchestratorConfig config, const config::Loaded& loaded,
                                     const Invocation& invocation);

}  // namespace rlcpp::app
