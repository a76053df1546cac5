// Metrics of a run under the reference's names: each step is one JSON object in metrics.jsonl, and scalars in a TensorBoard
// event file. Non-finite values are written as null, never dropped silently.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rlcpp::monitor {

// Ordered: files show keys in the order they were added.
class Metrics {
 public:
  void set(std::string name, double value);
  double get(const std::string& name, double otherwise = 0) const;
  bool has(const std::string& name) const;
  const std::vector<std::pair<std::string, double>>& items() const { return items_; }
  // name/mean, /median, /std, /min, /max of `values`; nothing if empty.
  void set_distribution(const std::string& name, const std::vector<double>& values);
  void merge(const Metrics& other);

 private:
  std::vector<std::pair<std::string, double>> items_;
};

// Appends to <run>/metrics.jsonl and <run>/tensorboard/events.out.tfevents.*. On resume, lines of steps >= first_step are
// cut, so that a resumed run leaves one line a step and producer.
class MetricsWriter {
 public:
  MetricsWriter(const std::string& run_dir, const std::string& producer, std::int64_t first_step = 0);
  ~MetricsWriter();
  void write(std::int64_t step, const Metrics& metrics);
  void flush();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// TFRecord framing with masked CRC32C, Event protobuf by hand (five fields); read back by TensorBoard's own reader in tests.
std::string tensorboard_record(double wall_time, std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars);
std::string tensorboard_header(double wall_time);

}  // namespace rlcpp::monitor
