// Runs the rows of a matrix one after the other, a process each, and keeps every result, the failed ones too.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/matrix.h"

namespace rlcpp::bench {

struct RunnerOptions {
  std::string program;      // absolute path of rlcpp
  std::string results;      // directory; rows go to <results>/<file name>, logs to <results>/logs
  std::string commit_sha;   // 8 characters
  std::string device_name;  // for rows that fail before they can say
  bool fresh = false;
  std::int64_t repeats = 1;
  std::function<void(const std::string& line)> say;  // progress, one line an event
  std::function<bool()> keep_going;                  // false: stop after saving what is there
};

struct RunnerOutcome {
  std::int64_t done = 0, skipped = 0, failed = 0;
  bool stopped = false;  // rows are left; the same command goes on with them
};

// A row with a successful result of the same commit is skipped unless `fresh`: an interrupted matrix goes on
// where it was.
RunnerOutcome run_matrix(const std::vector<PlannedRow>& rows, const RunnerOptions& options);

std::string utc_timestamp();

}  // namespace rlcpp::bench
