// The benchmark matrix: which rows the page has. One TOML table a row, with defaults for all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config/schema.h"
#include "bench/result.h"

namespace rlcpp::bench {

struct MatrixRow {
  std::optional<std::string> id;  // default: made of the other fields
  std::optional<std::string> model_name, type, ac, publication, memory_limit, scaling, numeric_mode;
  std::optional<std::int64_t> num_gpus, lora_rank, seq_len, micro_batches, timeout, expected, max_steps;
  std::vector<std::string> extra;  // further arguments for the command of this row
  void describe(config::Schema& s);
};

struct Matrix {
  MatrixRow defaults;
  std::vector<MatrixRow> row;
  std::string device = "auto";
  std::string results = "benchmarks/results";
  std::string only;                // run rows whose id contains this
  std::vector<std::int64_t> gpus;  // run rows of these numbers of GPUs; empty: of any
  double minutes = 0;              // of the whole; 0: as long as it takes
  std::string plan_within;         // memory of a card: rows are planned for it, and none is run
  bool fresh = false;              // run rows again that have a result of this commit
  std::int64_t repeats = 1;
  void describe(config::Schema& s);
};

// One row with every default filled in, ready to run.
struct PlannedRow {
  std::string id;
  RunConfig config;  // device_name, commit and times are still empty, numeric_mode unless it is given
  std::int64_t max_steps = 4;
  double expected = 0;                 // seconds of the whole process, for a run with a limit of time
  std::vector<std::string> arguments;  // of `rlcpp`, without --bench.output-json
};

// A row that is not run, and why.
struct LeftOut {
  std::string id, why;
};

// Throws bad_input for a type that is neither sft nor rl, an unknown ac, or two rows with one id.
std::vector<PlannedRow> plan_rows(const Matrix& matrix);

// Takes the rows that need more than `gpus` devices out of `rows`, which keep their order.
std::vector<LeftOut> leave_out_larger(std::vector<PlannedRow>& rows, std::int64_t gpus);

}  // namespace rlcpp::bench
