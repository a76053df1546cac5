// Curves as one SVG file: no scripts, no fonts, no network. Colours are those of Okabe and Ito ("Color
// universal design", 2008), lightened for dark backgrounds; dashes tell curves apart without colour.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "base/log.h"
#include "monitor/console.h"
#include "monitor/svg_axis.h"

namespace rlcpp::monitor {
namespace {

constexpr double kPanelWidth = 440, kPanelHeight = 300, kGap = 20, kTitleHeight = 44;
constexpr double kLeft = 72, kRight = 18, kBottom = 46, kPanelTitle = 24, kLegendRow = 18;
constexpr std::size_t kPanelsPerRow = 3;
constexpr std::size_t kCurveStyles = 6;
constexpr double kLetter = 6.3;  // mean width of a letter of the small text, for the legend's line breaks
constexpr std::size_t kMaxPoints = 1200;  // of a curve; more cannot be seen and only make the file large
constexpr std::size_t kMaxHover = 400;

constexpr const char* kStyle = R"(<style>
.page{fill:#ffffff}.frame{fill:none;stroke:#c9ced6}.grid{stroke:#e6e9ee;stroke-width:1}
text{fill:#1d2433;font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-size:12px}
.title{font-size:18px;font-weight:600}.panel{font-size:14px;font-weight:600}.small{font-size:11px;fill:#5a6372}
.c{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.p{stroke-width:0}
.h{opacity:0}.h:hover{opacity:1}
.c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}.c3{stroke:#b5508c}.c4{stroke:#b27900}.c5{stroke:#3d94cf}
.p0{fill:#0072b2}.p1{fill:#d55e00}.p2{fill:#009e73}.p3{fill:#b5508c}.p4{fill:#b27900}.p5{fill:#3d94cf}
@media (prefers-color-scheme:dark){
.page{fill:#14171c}.frame{stroke:#464d59}.grid{stroke:#2a2f38}text{fill:#e8ebf0}.small{fill:#a5adba}
.c0{stroke:#4da9e8}.c1{stroke:#ff8b4d}.c2{stroke:#2ec99b}.c3{stroke:#e79cc9}.c4{stroke:#f0b73a}.c5{stroke:#9ad3f7}
.p0{fill:#4da9e8}.p1{fill:#ff8b4d}.p2{fill:#2ec99b}.p3{fill:#e79cc9}.p4{fill:#f0b73a}.p5{fill:#9ad3f7}}
</style>
)";
constexpr std::array<const char*, kCurveStyles> kDashes = {"", "7 4", "2 4", "10 4 2 4", "4 3", "12 5"};

// Names come from files and environments: they must neither break the document nor hide control characters in
// it.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\t':
        out += ' ';
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, std::string_view klass, std::string_view anchor,
                    std::string_view text) {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", klass, x,
                     y, anchor, escape(text));
}

struct Point {
  double x = 0, y = 0;
};

// The points of a curve in its order, thinned to the lowest and highest of each bin, so that no spike is
// lost. A bin without a finite point stays: it marks a break.
std::vector<Point> points_of(const Curve& curve) {
  const std::size_t count = std::min(curve.x.size(), curve.y.size());
  std::vector<Point> points;
  if (count <= kMaxPoints) {
    for (std::size_t i = 0; i < count; ++i) points.push_back({curve.x[i], curve.y[i]});
    return points;
  }
  const std::size_t bins = kMaxPoints / 2;
  for (std::size_t bin = 0; bin < bins; ++bin) {
    const std::size_t begin = bin * count / bins, end = (bin + 1) * count / bins;
    std::size_t low = end, high = end;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      if (low == end || curve.y[i] < curve.y[low]) low = i;
      if (high == end || curve.y[i] > curve.y[high]) high = i;
    }
    if (low == end) low = high = begin;  // nothing to draw in this bin: a break
    for (const std::size_t i : {std::min(low, high), std::max(low, high)})
      points.push_back({curve.x[i], curve.y[i]});
  }
  return points;
}

bool is_point(const Point& p) {
  return std::isfinite(p.x) && std::isfinite(p.y);
}

// Rows of the legend: indices of curves whose names fit beside each other.
std::vector<std::vector<std::size_t>> legend_rows(const Panel& panel) {
  std::vector<std::vector<std::size_t>> rows;
  if (panel.curves.empty() || (panel.curves.size() == 1 && panel.curves[0].name.empty())) return rows;
  double used = kPanelWidth;
  for (std::size_t i = 0; i < panel.curves.size(); ++i) {
    const double width = 40 + kLetter * static_cast<double>(panel.curves[i].name.size());
    if (used + width > kPanelWidth - kLeft - kRight) {
      rows.emplace_back();
      used = 0;
    }
    rows.back().push_back(i);
    used += width;
  }
  return rows;
}

std::string dash_of(std::size_t curve) {
  const char* dash = kDashes[curve % kCurveStyles];
  return *dash == '\0' ? std::string() : fmt::format(" stroke-dasharray=\"{}\"", dash);
}

std::string legend(const Panel& panel) {
  std::string out;
  double y = kPanelTitle + 12;
  for (const auto& row : legend_rows(panel)) {
    double x = kLeft;
    for (const std::size_t i : row) {
      out +=
          fmt::format("<line class=\"c c{}\"{} x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                      i % kCurveStyles, dash_of(i), x, y - 4, x + 22, y - 4);
      out += text_at(x + 28, y, "small", "start", panel.curves[i].name);
      x += 40 + kLetter * static_cast<double>(panel.curves[i].name.size());
    }
    y += kLegendRow;
  }
  return out;
}

struct Box {
  double left, right, top, bottom;
};

std::string draw_curve(const Curve& curve, std::size_t index, const Axis& x_axis, const Axis& y_axis,
                       const Box& box) {
  const std::vector<Point> points = points_of(curve);
  const auto place = [&](const Point& p) {
    return Point{x_axis.place(p.x, box.left, box.right), y_axis.place(p.y, box.bottom, box.top)};
  };
  std::string path, dots;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!is_point(points[i])) continue;
    const Point at = place(points[i]);
    const bool begins = i == 0 || !is_point(points[i - 1]);
    const bool ends = i + 1 == points.size() || !is_point(points[i + 1]);
    path += fmt::format("{}{:.1f} {:.1f}", begins ? "M" : "L", at.x, at.y);
    // A point without neighbours has no line, so it is drawn; the others show themselves under the pointer.
    const bool alone = begins && ends;
    if (!alone && points.size() > kMaxHover) continue;
    dots += fmt::format(
        "<circle class=\"p p{}{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"><title>{}: {:.6g}, {:.6g}</title>"
        "</circle>\n",
        index % kCurveStyles, alone ? "" : " h", at.x, at.y, escape(curve.name), points[i].x, points[i].y);
  }
  std::string out = fmt::format("<g><title>{}</title>\n", escape(curve.name));
  if (!path.empty()) {
    out += fmt::format("<path class=\"c c{}\"{} d=\"{}\"/>\n", index % kCurveStyles, dash_of(index), path);
  }
  return out + dots + "</g>\n";
}

std::string draw_panel(const Panel& panel, double left, double top, double legend_height) {
  std::vector<double> xs, ys;
  bool whole = true;
  for (const Curve& curve : panel.curves) {
    for (std::size_t i = 0; i < std::min(curve.x.size(), curve.y.size()); ++i) {
      if (!is_point({curve.x[i], curve.y[i]})) continue;
      xs.push_back(curve.x[i]);
      ys.push_back(curve.y[i]);
      whole = whole && curve.x[i] == std::floor(curve.x[i]);
    }
  }
  const double height = kPanelHeight + legend_height;
  const Box box{kLeft, kPanelWidth - kRight, kPanelTitle + 14 + legend_height, height - kBottom};
  std::string out =
      fmt::format("<g transform=\"translate({:.1f} {:.1f})\" role=\"group\"><title>{}</title>\n", left, top,
                  escape(panel.title));
  out += text_at(kLeft, 16, "panel", "start", panel.title);
  out += legend(panel);
  const auto frame =
      fmt::format("<rect class=\"frame\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>\n",
                  box.left, box.top, box.right - box.left, box.bottom - box.top);
  const double middle_x = (box.left + box.right) / 2, middle_y = (box.top + box.bottom) / 2;
  if (xs.empty()) return out + frame + text_at(middle_x, middle_y, "small", "middle", "no data") + "</g>\n";
  const Axis x_axis = make_axis(xs, 6, whole, false);
  const Axis y_axis = make_axis(ys, 5, false, true);
  for (std::size_t i = 0; i < y_axis.ticks.size(); ++i) {
    const double y = y_axis.place(y_axis.ticks[i], box.bottom, box.top);
    out += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       box.left, y, box.right, y);
    out += text_at(box.left - 6, y + 4, "small", "end", y_axis.labels[i]);
  }
  for (std::size_t i = 0; i < x_axis.ticks.size(); ++i) {
    const double x = x_axis.place(x_axis.ticks[i], box.left, box.right);
    out += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", x,
                       box.bottom, x, box.bottom + 4);
    out += text_at(x, box.bottom + 17, "small", "middle", x_axis.labels[i]);
  }
  out += frame;
  for (std::size_t i = 0; i < panel.curves.size(); ++i)
    out += draw_curve(panel.curves[i], i, x_axis, y_axis, box);
  out += text_at(middle_x, height - 10, "small", "middle", panel.x_label);
  if (!panel.y_label.empty()) {
    out += fmt::format(
        "<text class=\"small\" text-anchor=\"middle\" transform=\"translate(13 {:.1f}) "
        "rotate(-90)\">{}</text>\n",
        middle_y, escape(panel.y_label));
  }
  return out + "</g>\n";
}

}  // namespace

std::string svg(const std::string& title, const std::vector<Panel>& panels) {
  const std::size_t columns = std::clamp<std::size_t>(panels.size(), 1, kPanelsPerRow);
  std::string body;
  double top = kTitleHeight;
  for (std::size_t begin = 0; begin < panels.size(); begin += columns) {
    const std::size_t end = std::min(panels.size(), begin + columns);
    std::size_t rows = 0;  // of the tallest legend: plots of a row stand at one height
    for (std::size_t i = begin; i < end; ++i) rows = std::max(rows, legend_rows(panels[i]).size());
    const double legend_height = kLegendRow * static_cast<double>(rows);
    for (std::size_t i = begin; i < end; ++i) {
      body += draw_panel(panels[i], kGap + static_cast<double>(i - begin) * (kPanelWidth + kGap), top,
                         legend_height);
    }
    top += kPanelHeight + legend_height + kGap;
  }
  const double width = kGap + static_cast<double>(columns) * (kPanelWidth + kGap);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 "
             "{0:.0f} {1:.0f}\" "
             "role=\"img\">\n<title>{2}</title>\n",
             width, top, escape(title)) +
         kStyle + fmt::format("<rect class=\"page\" width=\"{:.0f}\" height=\"{:.0f}\"/>\n", width, top) +
         text_at(kGap, 28, "title", "start", title) + body + "</svg>\n";
}

}  // namespace rlcpp::monitor
