#include "monitor/console.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/log.h"

namespace rlcpp::monitor {
namespace {

constexpr std::size_t kEtaSteps = 20;   // the median of these
constexpr std::size_t kEtaMinimum = 3;  // fewer say nothing: the first step warms up

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

bool looks_numeric(std::string_view cell) {
  if (cell.empty() || cell == "-") return true;
  if (cell.front() == '+' || cell.front() == '-') cell.remove_prefix(1);
  if (cell.starts_with('.')) cell.remove_prefix(1);
  return (!cell.empty() && cell.front() >= '0' && cell.front() <= '9') || cell == "inf" || cell == "nan";
}

}  // namespace

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "-";
  const auto total = std::llround(seconds);
  const auto days = total / 86400, hours = total / 3600 % 24, minutes = total / 60 % 60, rest = total % 60;
  if (days > 0) return fmt::format("{}d {}h", days, hours);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, rest);
  return fmt::format("{}:{:02}", minutes, rest);
}

std::string compact(double value) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const double size = std::abs(value);
  if (size < 999.5 || (size < 1000 && value == std::floor(value))) {
    return value == std::floor(value) ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
  }
  constexpr std::array<const char*, 4> kUnits = {"k", "M", "G", "T"};
  double scaled = value / 1000;
  for (const char* unit : kUnits) {
    // 9.996 would print as 10.00 and 999.96 as 1000.0: the width of a step line must not jump there.
    if (std::abs(scaled) < 9.995) return fmt::format("{:.2f}{}", scaled, unit);
    if (std::abs(scaled) < 999.95) return fmt::format("{:.1f}{}", scaled, unit);
    scaled /= 1000;
  }
  return fmt::format("{:.2e}", value);
}

std::string gib(double bytes) {
  if (!std::isfinite(bytes)) return "-";
  const double mib = bytes / (1024.0 * 1024.0);
  return std::abs(mib) < 102.4 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024);
}

void Eta::step(double seconds) {
  recent_.push_back(seconds);
  if (recent_.size() > kEtaSteps) recent_.erase(recent_.begin());
}

std::string Eta::text(std::int64_t remaining_steps) const {
  if (recent_.size() < kEtaMinimum || remaining_steps < 0) return "-";
  std::vector<double> sorted = recent_;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  const double median = sorted.size() % 2 == 1 ? sorted[middle] : 0.5 * (sorted[middle - 1] + sorted[middle]);
  return duration(median * static_cast<double>(remaining_steps));
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return {};
  std::size_t columns = 0;
  for (const auto& row : rows) columns = std::max(columns, row.size());
  std::vector<std::vector<std::string>> cells(rows.size(), std::vector<std::string>(columns));
  std::vector<std::size_t> widths(columns, 0);
  std::vector<bool> right(columns, rows.size() > 1);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      cells[r][c] = printable(rows[r][c]);
      widths[c] = std::max(widths[c], width_of(cells[r][c]));
      if (r > 0 && !looks_numeric(cells[r][c])) right[c] = false;
    }
  }
  std::string text;
  const auto add_line = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t c = 0; c < columns; ++c) {
      const std::string padding(widths[c] - width_of(row[c]), ' ');
      if (c > 0) line += "  ";
      line += right[c] ? padding + row[c] : row[c] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  add_line(cells.front());
  std::vector<std::string> rule;
  for (const std::size_t width : widths) rule.emplace_back(width, '-');
  add_line(rule);
  for (std::size_t r = 1; r < cells.size(); ++r) add_line(cells[r]);
  return text;
}

std::string sparkline(const std::vector<double>& values, int width) {
  constexpr std::array<const char*, 8> kBars = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width <= 0) return {};
  const std::size_t count = std::min(values.size(), static_cast<std::size_t>(width));
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> bins(count, kNan);
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (std::size_t bin = 0; bin < count; ++bin) {
    double sum = 0;
    std::size_t used = 0;
    for (std::size_t i = bin * values.size() / count; i < (bin + 1) * values.size() / count; ++i) {
      if (!std::isfinite(values[i])) continue;
      sum += values[i];
      ++used;
    }
    if (used == 0) continue;
    bins[bin] = sum / static_cast<double>(used);
    low = std::min(low, bins[bin]);
    high = std::max(high, bins[bin]);
  }
  std::string text;
  for (const double value : bins) {
    if (std::isnan(value)) {
      text += ' ';
      continue;
    }
    // A flat line stands in the middle: neither good nor bad.
    const double height = high > low ? (value - low) / (high - low) : 0.5;
    text += kBars[std::min<std::size_t>(kBars.size() - 1, static_cast<std::size_t>(height * kBars.size()))];
  }
  return text;
}

}  // namespace rlcpp::monitor
