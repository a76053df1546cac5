// --bench of a training command: hands its steps to the recorder, prints the table, writes the result file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/run_config.h"
#include "app/run_model.h"
#include "app/run_step_report.h"
#include "bench/recorder.h"

namespace rlcpp::app {

// The reference's words for what is kept between forward and backward.
std::string ac_text(const ModelSection& model);

// What identifies the row besides the model, which start() gets.
struct BenchIdentity {
  std::string type;  // "sft" | "rl"
  std::string model_name;
  std::int64_t seq_len = 0;
  std::int64_t micro_batches = 0;  // rows a step, of all ranks
  std::string ac;                  // of ac_text()
  std::string publication;         // RunConfig::publication
  std::string memory_limit;        // empty: none
  std::string numeric_mode;        // of mode_text(); auto or empty: the device's own
};

// How a run computes, as results name it: exact, fast, fp8 (products of blocks, the rest fast), unordered
// (fast, but for the order of sums), fp8-unordered, or auto.
std::string mode_text(const ModelSection& model, const RunSection& run);

// The reference's MFU of a device, 0 to 1; NaN where the device's peak is not known beforehand (a CPU).
double reference_mfu(const model::ModelConfig& config, Device device, std::int64_t seq_len,
                     double tokens_per_second);

class BenchRun {
 public:
  // Throws environment_error if bench.output_json could not be written at the end.
  BenchRun(BenchSection section, BenchIdentity identity);

  TrainingHooks hooks();  // that call start() and hand every step to the recorder; it outlives them
  // Prints the table (or, with `json`, the result) on stdout and writes bench.output_json. Throws
  // runtime_failure if the steps did no real work.
  void finish(bool json);

 private:
  void start(const TrainingFacts& run);
  BenchSection section_;
  BenchIdentity identity_;
  Device device_;
  int ranks_here_ = 1;
  std::unique_ptr<bench::Recorder> recorder_;
};

}  // namespace rlcpp::app
