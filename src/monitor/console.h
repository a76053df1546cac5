// What a person sees: step lines, progress, tables, sparklines, SVG curves.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::monitor {

// "0:52", "1:06:35", "2d 4h".
std::string duration(double seconds);
// "118.2k", "1.31M", "-" for NaN.
std::string compact(double value);
std::string gib(double bytes);

// Remaining time from the median of the last 20 step times; "-" before three are known.
class Eta {
 public:
  void step(double seconds);
  std::string text(std::int64_t remaining_steps) const;

 private:
  std::vector<double> recent_;
};

// A text table with right-aligned numbers; the first row is the header.
std::string table(const std::vector<std::vector<std::string>>& rows);

// One character a value, ▁▂▃▄▅▆▇█, at most `width` (values are averaged into bins).
std::string sparkline(const std::vector<double>& values, int width = 60);

struct Curve {
  std::string name;
  std::vector<double> x, y;
};
struct Panel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
};
// A self-contained SVG of panels side by side, light and dark by prefers-color-scheme, with <title> elements.
std::string svg(const std::string& title, const std::vector<Panel>& panels);

}  // namespace rlcpp::monitor
