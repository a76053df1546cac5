// Every result ever reported, a line each in benchmarks/history.jsonl, and its plot.
#pragma once

#include <string>
#include <vector>

#include "bench/result.h"

namespace rlcpp::bench {

struct HistoryPoint {
  std::string identity, timestamp, commit;
  double throughput = 0, mfu = 0, step_time = 0, peak_memory_gib = 0;
};

// Reads the file; absent: empty. A malformed line is an error with its number.
std::vector<HistoryPoint> read_history(const std::string& path);

// Appends the successful results that are not there yet (by identity and timestamp); returns the whole.
std::vector<HistoryPoint> append_history(const std::string& path, const std::vector<Result>& results);

// One panel a model, type and hardware, one curve a row: throughput relative to its first measurement, by
// measurement.
std::string history_svg(const std::vector<HistoryPoint>& points);

}  // namespace rlcpp::bench
