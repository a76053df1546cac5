// rlcpp bench kernels: one training step by operation.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/run_config.h"
#include "app/run_model.h"
#include "bench/kernels.h"
#include "bench/result.h"
#include "data/batch.h"
#include "train/trainer.h"

namespace rlcpp::app {

struct BenchKernelsConfig {
  ModelSection model;
  train::OptimConfig optim;
  std::string type = "sft", device = "auto";
  std::int64_t rows = 4, micro_batch_size = 1, ranks = 1, steps = 3, threads = 0;
  std::optional<std::string> memory_limit, against;
  double seconds = 0.2, timeout = 600;

  void describe(config::Schema& s);
  void validate() const;  // throws bad_input
  std::int64_t seq_len() const { return model.seq_len.value_or(2048); }
  std::int64_t tokens() const { return rows * seq_len(); }  // of a rank's step
};

// One line of the table.
struct KernelRow {
  std::string name, shape;
  std::int64_t calls = 0;       // a step
  double flops = 0, bytes = 0;  // of a call
  double share = 1;             // of a call that is one rank's: 1 / ranks where ranks share the work
  bench::KernelTime time;
  double step_seconds() const { return static_cast<double>(calls) * time.seconds * share; }
};

struct KernelReport {
  std::string model, type, ac, device, device_name, mode;
  std::optional<std::int64_t> lora_rank;
  std::vector<KernelRow> rows;
  std::vector<double> steps;           // seconds of whole steps, of this process
  std::optional<bench::Result> other;  // of `against`

  double sum() const;  // seconds a step
  // Kernel sum over the time of a step: of this process, which is one rank and does all of the optimizer's
  // work, or of `against` (0: there is none).
  double ratio() const;
  double ratio_against(const BenchKernelsConfig& config) const;
};

// What is printed.
std::string kernel_text(const BenchKernelsConfig& config, const KernelReport& report);
std::string kernel_json(const BenchKernelsConfig& config, const KernelReport& report);

}  // namespace rlcpp::app
