// Metrics of a run under the reference's names: each step is one JSON object in metrics.jsonl, and scalars in
// a TensorBoard event file. Non-finite values are written as null, never dropped silently.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/durable.h"

namespace rlcpp::monitor {

// Ordered: files show keys in the order they were added.
class Metrics {
 public:
  void set(std::string name, double value);  // replaces a value of the same name in its place
  double get(const std::string& name, double otherwise = 0) const;
  bool has(const std::string& name) const;
  const std::vector<std::pair<std::string, double>>& items() const { return items_; }
  // name/mean, /median, /std, /min, /max of `values`; nothing if empty. As torch does it, since the
  // reference's curves come from there: the median of an even count is the lower of the two in the middle,
  // std divides by n - 1. One value: std 0.
  void set_distribution(const std::string& name, const std::vector<double>& values);
  void merge(const Metrics& other);  // the other's values win

 private:
  std::vector<std::pair<std::string, double>> items_;
};

// Appends to <run>/metrics.jsonl and <run>/tensorboard/events.out.tfevents.*. On resume, lines of steps >=
// first_step are cut, so that a resumed run leaves one line a step and producer; the event files are cut at
// the same step. A line is
//   {"step": 12, "time": <unix seconds>, "producer": "trainer", "loss/mean": 1.83, ...}
// with "producer" left out if empty. A line that a crash cut short is dropped by the next start. Lines are
// handed to the system at once and are on disk after flush(). Thread-safe. A full disk is an
// environment_error naming the file; the writer stays usable once there is room again.
class MetricsWriter {
 public:
  MetricsWriter(const std::string& run_dir, const std::string& producer, std::int64_t first_step = 0);
  MetricsWriter(durable::FileLayer& files, const std::string& run_dir, const std::string& producer,
                std::int64_t first_step);
  ~MetricsWriter();
  // Metrics named step, time or producer are left out of the line: it has its own.
  void write(std::int64_t step, const Metrics& metrics);
  void flush();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rlcpp::monitor
