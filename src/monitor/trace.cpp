#include "monitor/trace.h"

#include <algorithm>
#include <cmath>

namespace rlcpp::monitor {
namespace {

// Microseconds with a digit for tenths behind the point, as viewers want them.
double microseconds(double seconds) {
  return std::round(seconds * 1e7) / 10;
}

}  // namespace

Trace::Trace(std::string process_name) {
  events_.push_back(
      {{"name", "process_name"}, {"ph", "M"}, {"pid", 0}, {"args", {{"name", std::move(process_name)}}}});
}

void Trace::span(std::string_view name, double begin, double end, int row,
                 const nlohmann::ordered_json& arguments) {
  nlohmann::ordered_json event = {{"name", name},
                                  {"ph", "X"},
                                  {"ts", microseconds(begin)},
                                  {"dur", microseconds(std::max(0.0, end - begin))},
                                  {"pid", 0},
                                  {"tid", row}};
  if (!arguments.is_null()) event["args"] = arguments;
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
}

void Trace::counter(std::string_view name, double at, double value) {
  const std::lock_guard lock(mutex_);
  events_.push_back(
      {{"name", name}, {"ph", "C"}, {"ts", microseconds(at)}, {"pid", 0}, {"args", {{"value", value}}}});
}

void Trace::name_row(int row, std::string_view name) {
  const std::lock_guard lock(mutex_);
  events_.push_back(
      {{"name", "thread_name"}, {"ph", "M"}, {"pid", 0}, {"tid", row}, {"args", {{"name", name}}}});
}

std::string Trace::json() const {
  const std::lock_guard lock(mutex_);
  const nlohmann::ordered_json whole = {{"traceEvents", events_}, {"displayTimeUnit", "ms"}};
  return whole.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace rlcpp::monitor
