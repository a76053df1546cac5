// The line of a step: fixed columns, stable order, unit always, "-" for what is missing, under 160 columns
// together with the time and level that the log puts before it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace rlcpp::monitor {

inline constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// step  12/200  loss 1.8342  grad   0.71  lr 2.0e-05  118.2k tok/s  mfu 38.1%  mem   9.7 GiB  0.28 s  eta
// 0:52
struct TrainLine {
  std::int64_t step = 0, max_steps = -1;  // max_steps < 0: open end
  double loss = kMissing, grad_norm = kMissing, lr = kMissing;
  double tokens_per_second = kMissing;
  double mfu = kMissing;           // 0 to 1; missing where no peak is known (CPU): no column
  double memory_bytes = kMissing;  // peak
  double seconds = kMissing;       // of this step
  std::string eta = "-";           // Eta::text()
};
std::string step_line(const TrainLine& line);

// step  12/200  reward 0.412 (+0.013)  kl 2e-08  ent 0.83  len 311  trunc 2%  groups 32: 3 all, 5 none
//   gen 61% train 34% wait 5%  2.1 s  eta 6:35
struct RolloutLine {
  std::int64_t step = 0, max_steps = -1;
  double reward = kMissing;
  double reward_change = kMissing;  // against the step before
  double mismatch_kl = kMissing, entropy = kMissing;
  double length = kMissing;                                                 // mean completion tokens
  double truncated = kMissing;                                              // 0 to 1
  double groups = kMissing, groups_all = kMissing, groups_none = kMissing;  // solved by all samples, by none
  // Shares of the step, 0 to 1. Publication has a column of its own from half a per cent on, where there is
  // room, and counts as waiting where there is none.
  double generate = kMissing, train = kMissing, publish = 0, wait = kMissing;
  double seconds = kMissing;
  std::string eta = "-";
};
std::string step_line(const RolloutLine& line);

}  // namespace rlcpp::monitor
