// What a training run prints: the banner in its fixed order, what differs from the defaults, and the end.
// Step lines go through the log (stderr); results go to stdout.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/config/load.h"
#include "base/log.h"
#include "monitor/console.h"
#include "tensor/arena.h"

namespace rlcpp::app {

// "optim.lr = 0.001 (configs/a.toml:3)" for every value that does not have its default's origin.
std::vector<std::string> overrides(const std::function<void(config::Schema&)>& describe,
                                   const config::Origins& origins);

struct Banner {
  std::string command;     // "sft"
  std::string mode = {};   // numeric mode; empty: it makes no difference
  std::string device;      // device and why
  std::string ranks = {};  // empty: one
  std::string model;
  std::string data;
  std::vector<std::string> overrides;
  std::string plan;  // MemoryPlan::table
  std::string run;   // the run directory; empty: none
};
// Version and commit, device, model, data, overrides, memory plan, run folder; one log line each.
void print_banner(const Banner& banner, Logger& log);

// "step  12/200", the width of the last number; max_steps -1: "step 12".
std::string step_counter(std::int64_t step, std::int64_t max_steps);

struct RunResult {
  std::string title;                                      // "SFT finished", "SFT stopped by SIGINT"
  std::vector<std::pair<std::string, std::string>> rows;  // name, value: the table
  nlohmann::ordered_json values;  // the same for --json: numbers as numbers, names with underscores
  std::vector<std::pair<std::string, std::vector<double>>> curves;  // name, a value a step: sparklines
  std::vector<std::string> next;                                    // commands, the next two
};
// The row "memory": planned, and the largest so far; {"memory", "12.33 GiB planned, 12.35 GiB at its peak"}.
std::pair<std::string, std::string> memory_row(const MemoryPlan& plan, Device device);

// As text for stdout, or as one JSON object.
std::string result_text(const RunResult& result);
std::string result_json(const RunResult& result);

// A path or argument as a shell would need it.
std::string shell_quote(const std::string& word);
// The words of a command line without the options in `drop` (with their values), joined.
std::string command_without(const std::vector<std::string>& words, const std::vector<std::string>& drop);

}  // namespace rlcpp::app
