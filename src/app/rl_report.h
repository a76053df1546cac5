// What an RL run says about itself at its end: table, sparklines, SVG, and the next commands. Read from
// metrics.jsonl, so that a resumed run shows all of its steps.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "app/rl_config.h"
#include "app/run_console.h"
#include "monitor/console.h"
#include "monitor/metrics.h"
#include "orchestrator/orchestrator.h"

namespace rlcpp::app {

// Name of the lines of an RL run in metrics.jsonl: one process, one line a step.
inline constexpr const char* kRlProducer = "rl";

// Metrics of every step so far.
struct RlRecord {
  monitor::Curve reward, val_reward, loss, entropy, mismatch_kl, length, grad_norm;
  std::vector<monitor::Curve> evals;  // "eval/<env>/avg@k"
  // False: the run was stopped before there was anything to draw.
  bool has_points() const;
};
RlRecord read_record(const std::string& run_dir);

struct RlReport {
  std::string run_dir, weights_dir, checkpoint, model;
  std::vector<std::string> command_line;
  int signal = 0;
  std::int64_t steps = 0, steps_here = 0, max_steps = -1, skipped = 0;
  bool saves = true;  // there is a ckpt section
  orchestrator::Progress progress;
  double seconds = 0;
  std::string memory;                               // the row of memory_row()
  std::size_t planned_memory = 0, peak_memory = 0;  // bytes on the device
};
RunResult final_result(const RlRecord& record, const RlReport& report);
// Only with points.
std::string curves_svg(const RlRecord& record, const RlReport& report);

// "eval reverse-text avg@1 0.7123  arithmetic avg@4 0.2"
std::string evaluation_line(const monitor::Metrics& metrics);

// For the banner: environments with their sizes, what a step holds, what is validated.
std::string data_text(const orchestrator::Orchestrator& orchestrator, const RlConfig& config);

}  // namespace rlcpp::app
