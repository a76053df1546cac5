// The inside of a benchmark run: a training command calls it after every step, and it makes the table and the
// result file.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/flops.h"
#include "bench/result.h"

namespace rlcpp::bench {

struct StepSample {
  double step_seconds = 0;      // the step alone
  double interval_seconds = 0;  // from the end of the step before to this end: what throughput counts
  std::int64_t tokens = 0;      // of all rows, padding included as in the reference
  std::vector<std::int64_t> document_lengths;  // of all rows
  double loss = 0;
  double grad_norm = 0;
  std::size_t peak_memory_bytes = 0;  // so far
};

struct RecorderFacts {
  RunConfig config;  // identity of the row; times and success are filled in by the recorder
  ModelShape shape;
  double peak_flops = 0;  // of one device
  std::string peak_source;
  std::size_t planned_bytes = 0;
  std::size_t device_bytes = 0;  // total memory: what the percentage divides by
  std::map<std::string, std::string> versions;
};

class Recorder {
 public:
  explicit Recorder(RecorderFacts facts);
  void step(const StepSample& sample);
  // The rate that MFU divides by, where it is measured after the run rather than known before: a measurement
  // at the start would count as time to the first step.
  void set_peak(double flops, std::string source);

  // Throws runtime_failure unless at least two steps ran and the work was real: finite losses, gradient norms
  // above zero.
  Result result() const;
  // The reference's table: a row a timed step (the first, warm-up, left out), a blank, then "Overall" as mean
  // ± std [min, max].
  std::string table() const;

 private:
  RecorderFacts facts_;
  std::vector<StepSample> steps_;
  double first_step_seconds_ = 0, first_step_begins_ = 0;
  std::map<std::string, std::string> clocks_;  // before the first step
};

// Seconds since this process was started, as the kernel counts them (loading of the program included).
double seconds_since_process_start();
// Clock rates, governor, load and cores of this machine now, for the record.
std::map<std::string, std::string> clock_readings();
// Compiler, C library, kernel, processor.
std::map<std::string, std::string> system_versions();

}  // namespace rlcpp::bench
