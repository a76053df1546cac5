// What a run spent its time on, in the Trace Event Format that chrome://tracing and ui.perfetto.dev read
// ("Trace Event Format", Google, 2016: events of phase X with ts and dur in microseconds, C for counters).
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace rlcpp::monitor {

// Thread-safe. Times are seconds of the steady clock.
class Trace {
 public:
  explicit Trace(std::string process_name);
  // A span on a row of its own thread or part of the run.
  void span(std::string_view name, double begin, double end, int row = 0,
            const nlohmann::ordered_json& arguments = {});
  void counter(std::string_view name, double at, double value);
  void name_row(int row, std::string_view name);
  // The whole file: {"traceEvents": [...], "displayTimeUnit": "ms"}.
  std::string json() const;

 private:
  mutable std::mutex mutex_;
  nlohmann::ordered_json events_ = nlohmann::ordered_json::array();
};

}  // namespace rlcpp::monitor
