#include "bench/page_text.h"

#include <fmt/format.h>

#include <sstream>

namespace rlcpp::bench {

bool under_load(const Result& r) {
  if (!r.extension) return false;
  const auto& clocks = r.extension->clocks;
  double load = 0;
  double cores = 0;
  if (const auto found = clocks.find("load"); found != clocks.end())
    std::istringstream(found->second) >> load;
  if (const auto found = clocks.find("cores"); found != clocks.end()) {
    std::istringstream(found->second) >> cores;
  } else if (const std::string start = "measured, "; r.extension->peak_source.starts_with(start)) {
    std::istringstream(r.extension->peak_source.substr(start.size())) >> cores;  // "measured, 2 cores, f32"
  }
  return cores > 0 && load > 1.5 * cores;
}

std::string marked_type(const Result& r) {
  std::string text = r.config.type_text();
  if (!r.config.plain()) text += ", " + r.config.numeric_mode;
  if (under_load(r)) text += std::string(" ") + kLoadMark;
  if (!r.config.memory_limit.empty()) text += std::string(" ") + kMemoryMark;
  return text;
}

std::string thousands(double value) {
  return value >= 1000 ? fmt::format("{:.2f}k", value / 1000) : fmt::format("{:.1f}", value);
}

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, 200)) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string gibibytes(double value) {
  return value > 0 ? fmt::format("{:.1f} GiB", value) : "–";
}

}  // namespace rlcpp::bench
