// Everything that watches a run, behind one object: the runs say what a step was, and this tells whoever is
// configured (run_watch_config.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "app/run_heartbeat.h"
#include "app/run_metrics_server.h"
#include "app/run_wandb.h"
#include "app/run_watch_config.h"
#include "monitor/metrics.h"
#include "monitor/trace.h"
#include "tensor/arena.h"

namespace rlcpp::app {

struct WatchedRun {
  std::string producer;              // of its lines in metrics.jsonl
  std::string directory;             // empty: a run without files
  std::int64_t first_step = 1;       // that this process does
  const MemoryPlan* plan = nullptr;  // for memory_profiler_path
  std::string configuration_json = "{}";
};

class RunWatch {
 public:
  // Of several processes only the first has one. Throws environment_error if a port or directory cannot be
  // had. `log` outlives it.
  RunWatch(const WatchSection& section, const WatchedRun& run, Logger& log);
  // Begin and end in seconds of the steady clock; row 1 for what is inside a span of row 0.
  void span(std::string_view name, double begin, double end, int row = 0);
  // After the line of a step is in metrics.jsonl.
  void step(std::int64_t step, const monitor::Metrics& metrics);
  void finish(int exit_code);

 private:
  Logger& log_;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::unique_ptr<MetricsServer> server_;
  std::unique_ptr<WandbRelay> wandb_;
  std::unique_ptr<monitor::Trace> trace_;
  std::string trace_file_, usage_file_;
  std::size_t planned_ = 0;
};

}  // namespace rlcpp::app
