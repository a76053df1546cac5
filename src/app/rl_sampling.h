// What sampling is like whether the trainer is in this process (`rlcpp rl`) or not (`rlcpp orchestrator`):
// the engine's size, the progress line, rollouts on disk, validation and evaluation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/rl_config.h"
#include "app/rl_text.h"
#include "app/run_directory.h"
#include "app/run_engine.h"
#include "app/run_model.h"
#include "base/log.h"
#include "model/config.h"
#include "monitor/metrics.h"
#include "monitor/progress.h"
#include "orchestrator/orchestrator.h"
#include "rollout/engine.h"
#include "tensor/arena.h"

namespace rlcpp::app {

// Without num_pages the cache takes pages_that_fit().
rollout::EngineConfig engine_config(const RlConfig& config, const ops::Context& ctx,
                                    const model::ModelConfig& model, const MemoryPlan& planned,
                                    std::size_t limit);
// `limit` without `rollouts` bytes, which take memory of the host beside a plan: nothing of a GPU's.
std::size_t limit_beside_rollouts(const ops::Context& ctx, std::size_t limit, double rollouts);

// The most that the rollouts of a step take outside the plan, from the engine to the trainer.
double rollout_bytes(const orchestrator::OrchestratorSection& section);

// The orchestrator of a run; warns of a policy that never ends a turn.
std::unique_ptr<orchestrator::Orchestrator> make_orchestrator(const RlConfig& config, const RlText& text,
                                                              Logger& log);

// Says what is set in `section` and changes nothing in a run whose batches end before its weights change.
void warn_of_idle(const InferenceSection& section, Logger& log);

// All prompts are looked at, so that none ends the run later; what is odd about them is a warning. Throws
// bad_input for one that cannot be used. seq_len_key: what the command calls orchestrator.seq_len.
void check_prompts(const orchestrator::Orchestrator& orchestrator, const std::string& seq_len_key,
                   ThreadPool& pool, Logger& log);

class Sampling {
 public:
  // All outlive it.
  Sampling(orchestrator::Orchestrator& orchestrator, const RunDirectory& directory, Logger& log,
           std::int64_t max_steps)
      : orchestrator_(orchestrator), directory_(directory), log_(log), max_steps_(max_steps) {}

  // A live line on a terminal, now and then a line elsewhere; until end_progress().
  orchestrator::ProgressFunction progress_line(const std::string& what);
  void end_progress() { bar_.reset(); }

  // rollouts/step_N.jsonl, if it is configured for this step.
  void save_rollouts(std::int64_t step, const std::vector<orchestrator::Group>& groups) const;

  struct When {
    std::int64_t step = 0;    // of the policy
    std::int64_t before = 0;  // of the one that was looked at before it: intervals end in (before, step]
    bool start = false;       // of this process
    bool last = false;        // policy of the run
  };
  // Validation and evaluation of the policy as it is now, where they are due.
  void measure(const When& when, monitor::Metrics& metrics);

 private:
  void write(const std::string& name, const std::vector<orchestrator::Group>& groups,
             const orchestrator::Environments& environments, std::int64_t step) const;

  orchestrator::Orchestrator& orchestrator_;
  const RunDirectory& directory_;
  Logger& log_;
  std::int64_t max_steps_;
  std::unique_ptr<monitor::Progress> bar_;
};

}  // namespace rlcpp::app
