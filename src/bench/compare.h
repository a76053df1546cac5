// Results against baselines: what counts as a difference and what as a regression.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/result.h"

namespace rlcpp::bench {

// The reference's thresholds: differences from 1 % are shown, losses over 5 % are regressions.
struct Thresholds {
  double regression = 0.05;
  double shown = 0.01;
};

struct Difference {
  double relative = 0;  // (now - before) / before
  bool shown = false;
  bool regression = false;  // worse by more than the threshold
};

// higher_is_better: MFU and throughput; not for step time. No difference if `before` is 0 (no baseline).
Difference compare(double now, double before, bool higher_is_better, const Thresholds& thresholds);

// Finds the baseline of a row: the same identity, else the same row in the reference's own files, which know
// neither numeric modes nor our attention.
class Baselines {
 public:
  explicit Baselines(std::vector<Result> results);
  const Result* find(const RunConfig& config) const;
  const std::vector<Result>& results() const { return results_; }

 private:
  std::vector<Result> results_;
  std::map<std::string, std::size_t> exact_;
  std::map<std::string, std::size_t> loose_;
};

// One line for each regression of MFU, throughput or step time, and for each row that worked in the baseline
// and fails now.
std::vector<std::string> regressions(const std::vector<Result>& results, const Baselines& baselines,
                                     const Thresholds& thresholds);

// One line for each baseline of our own (with the object "rlcpp") of a device that the results contain, which
// none of the results is compared with: a row that was not measured. Pages of several machines share one
// directory, so that rows of other devices are not missed.
std::vector<std::string> missing_rows(const std::vector<Result>& results, const Baselines& baselines);

}  // namespace rlcpp::bench
