// One benchmark row's result file: the reference's schema (benchmarks/scripts/run_single_benchmark.py,
// January 2026) with an extra object "rlcpp" that its own tools ignore.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/statistics.h"

namespace rlcpp::bench {

// "config": what was run. The first block identifies a row; two results of one row are comparable.
struct RunConfig {
  std::string model_name = "Qwen/Qwen3-0.6B";
  std::string type = "rl";    // rl | sft
  std::int64_t num_gpus = 1;  // devices; on the CPU, 1
  std::string device_name;
  std::optional<std::int64_t> lora_rank;
  std::int64_t seq_len = 512;
  std::string ac = "None";  // None | Recompute | Selective | Offload
  std::string attention = "rlcpp";
  std::int64_t cp = 1;
  std::int64_t ep = 1;
  std::string numeric_mode = "exact";
  std::string publication;   // "files": new weights through files inside the interval; empty: in the process
  std::string memory_limit;  // "44GiB": a memory check on another card; part of the identity
  // A row of a scaling table, part of the identity. "weak": the rows of a GPU are as many for all numbers of
  // GPUs; "strong": those of a step are. Empty: neither.
  std::string scaling;

  std::int64_t micro_batches = 2;  // a device and step
  std::int64_t timeout = 3600;     // seconds
  std::string commit_sha;          // "60761b81", "60761b81+changes" if files were changed
  std::string timestamp;           // UTC, ISO 8601
  bool success = false;
  std::string error_reason;
  double time_taken = 0;  // seconds of the whole process

  // Computed in one of the two numeric modes, and not with FP8 or in any order besides.
  bool plain() const { return numeric_mode.empty() || numeric_mode == "exact" || numeric_mode == "fast"; }
  std::string type_text() const;  // "RL Full", "RL LoRA(r=16)", "SFT Full, weak scaling"
  std::string hardware_text()
      const;                      // "2xH100 HBM3": vendor and size words dropped, as on the reference page
  std::string identity() const;   // key of a row across pages
  std::string file_name() const;  // "benchmark-...json", the reference's pattern
};

struct Metrics {
  Summary mfu;         // %, by the reference's formula
  Summary throughput;  // tokens/s of the whole job
  Summary step_time;   // seconds, measured
  double peak_memory_gib = 0;
  double peak_memory_pct = 0;
};

// What the reference does not record.
struct Extension {
  Summary true_mfu;  // %, exact causal work with real document lengths
  double planned_memory_gib = 0;
  double first_step_seconds = 0;     // from process start to the end of the first step
  double first_step_begins = 0;      // from process start to its beginning; 0: not measured
  double peak_tflops = 0;            // of one device, what MFU divides by
  std::string peak_source;           // "datasheet" or "measured FMA rate"
  std::vector<double> step_seconds;  // every timed step
  std::vector<double> losses;        // every step, warm-up included: real work leaves a trace
  std::vector<double> grad_norms;
  std::map<std::string, std::string> versions;  // compiler, CUDA, driver, kernel
  // Before the first step, and "..._after" the last: clock rates, governor, load averages; "cores".
  std::map<std::string, std::string> clocks;
  std::int64_t repeats = 1;          // processes of which this is the median
  std::vector<std::string> command;  // "rlcpp" and its arguments
};

struct Result {
  RunConfig config;
  Metrics metrics;
  std::optional<Extension> extension;  // absent in the reference's own files
};

std::string to_json(const Result& result);
// Reads ours and the reference's. Throws bad_input naming `where` and the key.
Result from_json(const std::string& text, const std::string& where);

// Every benchmark-*.json of a directory, by file name. Unreadable ones are an error.
std::vector<Result> read_directory(const std::string& path);

}  // namespace rlcpp::bench
