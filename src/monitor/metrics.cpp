#include "monitor/metrics.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "monitor/append.h"
#include "monitor/tensorboard.h"

namespace rlcpp::monitor {
namespace {

// The text that is left of metrics.jsonl when a producer starts again at first_step. What is not a complete
// JSON object with a step is a line that a crash or a full disk cut short.
std::string kept_lines(const std::string& text, const std::string& producer, std::int64_t first_step) {
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) continue;
    const auto owner = row.find("producer");
    const bool mine = (owner == row.end() || !owner->is_string()) ? producer.empty() : *owner == producer;
    if (mine && row["step"].get<std::int64_t>() >= first_step) continue;
    kept += line;
    kept += '\n';
  }
  return kept;
}

bool ends_inside_a_line(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() <= 0) return false;
  file.seekg(-1, std::ios::end);
  return file.get() != '\n';
}

bool reserved(const std::string& name) {
  return name == "step" || name == "time" || name == "producer";
}

}  // namespace

void Metrics::set(std::string name, double value) {
  for (auto& [known, old] : items_) {
    if (known == name) {
      old = value;
      return;
    }
  }
  items_.emplace_back(std::move(name), value);
}

double Metrics::get(const std::string& name, double otherwise) const {
  for (const auto& [known, value] : items_) {
    if (known == name) return value;
  }
  return otherwise;
}

bool Metrics::has(const std::string& name) const {
  return std::any_of(items_.begin(), items_.end(), [&](const auto& item) { return item.first == name; });
}

void Metrics::set_distribution(const std::string& name, const std::vector<double>& values) {
  if (values.empty()) return;
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  double squares = 0;
  bool comparable = true;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
    comparable = comparable && !std::isnan(value);
  }
  // NaN has no place in an order: with one, the quantiles are NaN as well. A step has a value a token, so
  // nothing is sorted that need not be.
  std::vector<double> ordered = values;
  const auto middle = ordered.begin() + static_cast<std::ptrdiff_t>((ordered.size() - 1) / 2);
  if (comparable) std::nth_element(ordered.begin(), middle, ordered.end());
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  set(name + "/mean", mean);
  set(name + "/median", comparable ? *middle : kNan);
  set(name + "/std", values.size() > 1 ? std::sqrt(squares / (count - 1)) : 0 * mean);
  set(name + "/min", comparable ? *least : kNan);
  set(name + "/max", comparable ? *most : kNan);
}

void Metrics::merge(const Metrics& other) {
  for (const auto& [name, value] : other.items_) set(name, value);
}

struct MetricsWriter::State {
  State(durable::FileLayer& layer, const std::string& run_dir, std::string name, std::int64_t first_step)
      : files(layer), path(run_dir + "/metrics.jsonl"), producer(std::move(name)) {
    durable::make_directories(files, run_dir);
    durable::remove_leftovers(files, run_dir, "metrics.jsonl");
    if (std::filesystem::exists(path)) {
      const std::string text = durable::read_file(path);
      const std::string kept = kept_lines(text, producer, first_step);
      if (kept.size() != text.size()) durable::write_file(files, path, kept);
    } else {
      durable::write_file(files, path, "");
    }
    events.emplace(files, run_dir + "/tensorboard", first_step);
  }

  durable::FileLayer& files;
  std::string path, producer;
  std::optional<TensorboardFile> events;
  bool torn = false;  // a write failed: the last line may be cut short
  std::mutex mutex;
};

MetricsWriter::MetricsWriter(const std::string& run_dir, const std::string& producer, std::int64_t first_step)
    : MetricsWriter(durable::system_files(), run_dir, producer, first_step) {}

MetricsWriter::MetricsWriter(durable::FileLayer& files, const std::string& run_dir,
                             const std::string& producer, std::int64_t first_step)
    : state_(std::make_unique<State>(files, run_dir, producer, first_step)) {}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::write(std::int64_t step, const Metrics& metrics) {
  State& s = *state_;
  const double now = unix_time();
  nlohmann::ordered_json line;
  line["step"] = step;
  line["time"] = now;
  if (!s.producer.empty()) line["producer"] = s.producer;
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : metrics.items()) {
    if (reserved(name)) continue;
    scalars.emplace_back(name, value);
    // Names are ours; a task's metric may carry text of an environment, so bytes that are no UTF-8 must not
    // throw below.
    line[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  }
  std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text += '\n';
  const std::lock_guard lock(s.mutex);
  if (s.torn && ends_inside_a_line(s.path)) text.insert(text.begin(), '\n');
  try {
    append(s.files, s.path, text);
  } catch (...) {
    s.torn = true;
    throw;
  }
  s.torn = false;
  s.events->write(now, step, scalars);
}

void MetricsWriter::flush() {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  sync_file(s.files, s.path);
  s.events->sync();
}

}  // namespace rlcpp::monitor
