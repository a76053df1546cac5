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
  std::string commit_sha;   // 8 characters, "+changes" behind them if files were changed
  std::string device_name;  // of the rows: compared with results already there, recorded for failures
  std::string numeric_mode = "exact";  // of rows that name none
  bool fresh = false;
  std::int64_t repeats = 1;
  double seconds = 0;                                // for all rows; 0: no limit
  std::function<void(const std::string& line)> say;  // progress, one line an event
  std::function<bool()> keep_going;                  // false: stop after saving what is there
};

struct RunnerOutcome {
  std::int64_t done = 0, skipped = 0, failed = 0;
  bool stopped = false;           // rows are left; the same command goes on with them
  std::vector<LeftOut> left_out;  // for want of time
};

// A row with a successful result of the same commit, device, command and number of repeats is skipped unless
// `fresh`: an interrupted matrix goes on where it was. With "+changes" in the commit every row is measured.
// With a limit of time a row begins if the time that it is expected to take is left, and one that is not done
// when all time is over is stopped; both are left out, and no result is written for them.
RunnerOutcome run_matrix(const std::vector<PlannedRow>& rows, const RunnerOptions& options);

// What a result file keeps as the row's command: the same on every machine, without paths of this one.
std::vector<std::string> recorded_command(const PlannedRow& row);

std::string utc_timestamp();

}  // namespace rlcpp::bench
