#include <cctype>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "monitor/console.h"
#include "monitor/svg_axis.h"
#include "support.h"

namespace rlcpp::monitor {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

bool starts_entity(std::string_view text) {
  for (const char* entity : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
    if (text.starts_with(entity)) return true;
  }
  return false;
}

// The name of a tag "<name a="b" ...>" without its brackets and slashes; empty if anything in it is not as
// XML wants it.
std::string name_of_tag(std::string_view tag) {
  std::size_t at = 0;
  const auto word = [&] {
    const std::size_t begin = at;
    while (at < tag.size() &&
           (std::isalnum(static_cast<unsigned char>(tag[at])) != 0 || tag[at] == '-' || tag[at] == ':')) {
      ++at;
    }
    return std::string(tag.substr(begin, at - begin));
  };
  const std::string name = word();
  while (at < tag.size()) {
    const std::size_t begin = at;
    while (at < tag.size() && (tag[at] == ' ' || tag[at] == '\n')) ++at;
    if (at == tag.size()) break;
    if (at == begin || word().empty() || !tag.substr(at).starts_with("=\"")) return {};
    for (at += 2; at < tag.size() && tag[at] != '"'; ++at) {
      if (tag[at] == '<' || (tag[at] == '&' && !starts_entity(tag.substr(at)))) return {};
    }
    if (at++ == tag.size()) return {};
  }
  return name;
}

// Elements open and close in order, attributes are quoted, no stray < or &: enough of XML for what svg()
// writes.
bool well_formed(std::string_view text) {
  std::vector<std::string> open;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '&' && !starts_entity(text.substr(at))) return false;
    if (text[at] != '<') continue;
    const std::size_t end = text.find('>', at);
    if (end == std::string_view::npos) return false;
    std::string_view tag = text.substr(at + 1, end - at - 1);
    const bool closing = tag.starts_with('/'), empty = tag.ends_with('/');
    if (closing) tag.remove_prefix(1);
    if (empty) tag.remove_suffix(1);
    const std::string name = name_of_tag(tag);
    if (name.empty()) return false;
    if (closing) {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    } else if (!empty) {
      open.push_back(name);
    }
    at = end;
  }
  return open.empty();
}

// The d="..." of the paths: "M1.0 2.0L3.0 4.0".
std::vector<std::string> paths_of(const std::string& text) {
  std::vector<std::string> paths;
  for (std::size_t at = text.find(" d=\""); at != std::string::npos; at = text.find(" d=\"", at + 4)) {
    paths.push_back(text.substr(at + 4, text.find('"', at + 4) - at - 4));
  }
  return paths;
}

std::vector<std::pair<double, double>> points_of(const std::string& path) {
  std::vector<std::pair<double, double>> points;
  for (const char* at = path.c_str(); *at != '\0';) {
    EXPECT_TRUE(*at == 'M' || *at == 'L') << path;
    char* end = nullptr;
    const double x = std::strtod(at + 1, &end);
    const double y = std::strtod(end, &end);
    points.emplace_back(x, y);
    if (end == at + 1) break;
    at = end;
  }
  return points;
}

// Every number in coordinates is finite and inside the panel.
bool coordinates_are_inside(const std::string& text) {
  if (text.find("nan") != std::string::npos || text.find("inf") != std::string::npos) return false;
  for (const std::string& path : paths_of(text)) {
    for (const auto& [x, y] : points_of(path)) {
      if (!(x >= 0 && x <= 440 && y >= 0 && y <= 440)) return false;
    }
  }
  return true;
}

TEST(Svg, TheCheckerItselfSeesFaults) {
  EXPECT_TRUE(well_formed("<a b=\"c\" d1=\"&lt;\"><e/>&amp;</a>"));
  for (const char* bad : {"<a>", "</a>", "<a></b>", "<a b=c/>", "<a b=\"<\"/>", "<a b=\"&x;\"/>", "<a>&</a>",
                          "<a", "<a<b>/>"}) {
    EXPECT_FALSE(well_formed(bad)) << bad;
  }
}

Panel panel_of(std::vector<Curve> curves) {
  return {"loss", "step", "loss/mean", std::move(curves)};
}

TEST(Svg, DrawsCurvesWithAxesLegendAndTitles) {
  const std::string text =
      svg("Run & curves", {panel_of({{"train", {0, 1, 2}, {3, 2, 1}}, {"val", {0, 2}, {3, 2}}}),
                           {"reward", "step", "", {{"reward/mean", {0, 1}, {0.1, 0.7}}}}});
  EXPECT_TRUE(well_formed(text)) << text;
  EXPECT_TRUE(coordinates_are_inside(text));
  EXPECT_TRUE(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_NE(text.find("<title>Run &amp; curves</title>"), std::string::npos);
  EXPECT_NE(text.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_EQ(count_of(text, "<path "), 3U);
  EXPECT_EQ(count_of(text, "<circle "), 7U);
  EXPECT_NE(text.find("<title>train: 2, 1</title>"), std::string::npos);
  EXPECT_EQ(count_of(text, "stroke-dasharray"), 2U);  // the second curve and its sign in the legend
  // Nothing from outside: no scripts, no links but the name space, no fonts.
  EXPECT_EQ(count_of(text, "http"), 1U);
  EXPECT_EQ(text.find("<script"), std::string::npos);
  EXPECT_EQ(text.find("url("), std::string::npos);
}

TEST(Svg, HandlesNothingOnePointAndNan) {
  EXPECT_TRUE(well_formed(svg("empty", {})));
  const std::string none =
      svg("none", {panel_of({}), panel_of({{"a", {}, {}}}), panel_of({{"b", {1, 2}, {kNan, kNan}}})});
  EXPECT_TRUE(well_formed(none));
  EXPECT_EQ(count_of(none, "no data"), 3U);
  const std::string one = svg("one", {panel_of({{"a", {5}, {0.25}}})});
  EXPECT_TRUE(well_formed(one) && coordinates_are_inside(one));
  EXPECT_NE(one.find("class=\"p p0\""), std::string::npos);  // seen without a pointer
  const std::string gap = svg("gap", {panel_of({{"a", {0, 1, 2, 3, 4}, {1, 2, kNan, 2, 1}}})});
  EXPECT_TRUE(well_formed(gap) && coordinates_are_inside(gap));
  ASSERT_EQ(paths_of(gap).size(), 1U);
  EXPECT_EQ(count_of(paths_of(gap)[0], "M"), 2U);
  EXPECT_EQ(count_of(paths_of(gap)[0], "L"), 2U);
  // Unequal lengths: the common part.
  EXPECT_TRUE(well_formed(svg("odd", {panel_of({{"a", {0, 1, 2}, {1}}})})));
}

TEST(Svg, EscapesEveryText) {
  const std::string evil = "</text><script>alert(\"1\")</script>&\x1b[2J'\xff";
  const std::string text = svg(evil, {{evil, evil, evil, {{evil, {0, 1}, {0, 1}}}}});
  EXPECT_TRUE(well_formed(text)) << text;
  EXPECT_EQ(text.find("<script"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\xff'), std::string::npos);
}

TEST(Svg, KeepsSpikesOfLongCurvesAndStaysSmall) {
  std::mt19937_64 random(test::fresh_seed());
  Curve curve{"loss", {}, {}};
  for (int i = 0; i < 100000; ++i) {
    curve.x.push_back(i);
    curve.y.push_back(i % 977 == 0 ? kNan : static_cast<double>(random() % 1000));
  }
  curve.y[54321] = 5000;
  curve.y[54322] = -4000;
  const std::string text = svg("long", {panel_of({curve})});
  EXPECT_TRUE(coordinates_are_inside(text));
  EXPECT_LT(text.size(), 60000U);
  // Highest and lowest point of the plot: 5 % away from its edges.
  ASSERT_EQ(paths_of(text).size(), 1U);
  double highest = 1e9, lowest = 0;
  for (const auto& [x, y] : points_of(paths_of(text)[0])) {
    highest = std::min(highest, y);
    lowest = std::max(lowest, y);
  }
  const double top = 56, bottom = 272;  // of the plot in a panel with one legend row
  EXPECT_NEAR(highest, top + (bottom - top) * 0.05 / 1.1, 0.1);
  EXPECT_NEAR(lowest, bottom - (bottom - top) * 0.05 / 1.1, 0.1);
}

TEST(Svg, IsTheSameEachTime) {
  const auto draw = [] { return svg("t", {panel_of({{"a", {0, 1, 2}, {0.1, 0.2, 0.15}}})}); };
  EXPECT_EQ(draw(), draw());
}

TEST(Axis, HasRoundTicksWithinItsRange) {
  std::mt19937_64 random(test::fresh_seed());
  for (int round = 0; round < 3000; ++round) {
    const double scale = std::pow(10.0, static_cast<double>(random() % 24) - 12);
    const double low = (static_cast<double>(random() % 2001) - 1000) * scale;
    const double range = (1 + static_cast<double>(random() % 1000)) * scale;
    const Axis axis = make_axis({low, low + range, kNan}, 5, false, round % 2 == 0);
    ASSERT_GE(axis.ticks.size(), 2U) << low << " " << range;
    ASSERT_LE(axis.ticks.size(), 11U);
    ASSERT_EQ(axis.ticks.size(), axis.labels.size());
    EXPECT_LE(axis.low, low);
    EXPECT_GE(axis.high, low + range);
    const double distance = axis.ticks[1] - axis.ticks[0];
    const double mantissa = distance / std::pow(10.0, std::floor(std::log10(distance) + 1e-9));
    EXPECT_TRUE(std::abs(mantissa - 1) < 1e-6 || std::abs(mantissa - 2) < 1e-6 ||
                std::abs(mantissa - 5) < 1e-6)
        << distance;
    for (std::size_t i = 0; i < axis.ticks.size(); ++i) {
      EXPECT_GE(axis.ticks[i], axis.low - 1e-6 * distance);
      EXPECT_LE(axis.ticks[i], axis.high + 1e-6 * distance);
      if (i == 0) continue;
      EXPECT_NE(axis.labels[i], axis.labels[i - 1]);
    }
    EXPECT_DOUBLE_EQ(axis.place(axis.low, 10, 20), 10);
    EXPECT_DOUBLE_EQ(axis.place(axis.high, 10, 20), 20);
  }
}

TEST(Axis, OfStepsIsWhole) {
  const Axis axis = make_axis({0, 1, 2, 3}, 6, true, false);
  EXPECT_EQ(axis.labels, (std::vector<std::string>{"0", "1", "2", "3"}));
  const Axis single = make_axis({7}, 6, true, false);
  EXPECT_EQ(single.labels, (std::vector<std::string>{"6", "7", "8"}));
  const Axis wide = make_axis({0, 40000}, 4, true, false);
  EXPECT_EQ(wide.labels, (std::vector<std::string>{"0", "10k", "20k", "30k", "40k"}));
}

}  // namespace
}  // namespace rlcpp::monitor
