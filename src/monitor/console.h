// What a person sees: step lines, progress, tables, sparklines, SVG curves.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace rlcpp::monitor {

// "0:52", "1:06:35", "2d 4h", rounded to the second; "-" for NaN, infinities and negative times.
std::string duration(double seconds);
// "0.412", "311", "1.31k", "118.2k", "1.31M"; "-" for NaN. At most seven characters between 1e-4 and 1e15.
std::string compact(double value);
// "9.7 GiB", below 0.1 GiB "12.3 MiB"; "-" for NaN.
std::string gib(double bytes);

// Remaining time from the median of the last 20 step times; "-" before three are known.
class Eta {
 public:
  void step(double seconds);
  std::string text(std::int64_t remaining_steps) const;

 private:
  std::vector<double> recent_;
};

// A text table; the first row is the header, underlined. A column whose cells all begin like a number (or are
// "-" or empty) is right-aligned. Width is counted in code points; control characters are escaped. Ends with
// a newline; "" for no rows.
std::string table(const std::vector<std::vector<std::string>>& rows);

// One character a value, ▁▂▃▄▅▆▇█, at most `width` (values are averaged into bins). NaN and infinities leave
// a blank.
std::string sparkline(const std::vector<double>& values, int width = 60);

struct Curve {
  std::string name;
  std::vector<double> x, y;
};
struct Panel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
};
// A self-contained SVG of panels side by side (three a row), light and dark by prefers-color-scheme, with
// <title> elements: hovering over a point shows its values. Curves differ in dash as well as in colour.
// Points that are not finite break the line; a panel without points says so. All text is escaped.
std::string svg(const std::string& title, const std::vector<Panel>& panels);

}  // namespace rlcpp::monitor
