#include <cmath>
#include <limits>
#include <random>
#include <regex>

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

// Elements open and close in order, attributes are quoted, no stray < or &: enough of XML for what svg()
// writes. The style element's text holds '>' in no place, so it needs no exception.
bool well_formed(const std::string& text) {
  std::vector<std::string> open;
  std::size_t at = 0;
  static const std::regex kTag(
      R"(^<(/?)([a-zA-Z]+)((?:\s+[a-zA-Z0-9:-]+="[^"<&]*(?:&(?:amp|lt|gt|quot|#39);[^"<&]*)*")*)\s*(/?)>)");
  while (at < text.size()) {
    if (text[at] == '<') {
      std::smatch match;
      const std::string rest =
          text.substr(at, std::min<std::size_t>(text.size() - at, text.find('>', at) - at + 1));
      if (!std::regex_search(rest, match, kTag)) return false;
      if (match[1] == "/") {
        if (open.empty() || open.back() != match[2]) return false;
        open.pop_back();
      } else if (match[4] != "/") {
        open.push_back(match[2]);
      }
      at += static_cast<std::size_t>(match.length(0));
    } else if (text[at] == '&') {
      if (!std::regex_search(text.substr(at, 8), std::regex("^&(amp|lt|gt|quot|#39);"))) return false;
      ++at;
    } else {
      ++at;
    }
  }
  return open.empty();
}

// Every number in coordinates is finite and inside the picture.
bool coordinates_are_inside(const std::string& text) {
  if (text.find("nan") != std::string::npos || text.find("inf") != std::string::npos) return false;
  static const std::regex kPath(R"re( d="([^"]*)")re");
  for (std::sregex_iterator it(text.begin(), text.end(), kPath), end; it != end; ++it) {
    const std::string path = (*it)[1];
    static const std::regex kNumber(R"(-?[0-9.]+)");
    for (std::sregex_iterator n(path.begin(), path.end(), kNumber); n != end; ++n) {
      const double value = std::stod(n->str());
      if (value < 0 || value > 440) return false;
    }
  }
  return true;
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
  std::smatch match;
  ASSERT_TRUE(std::regex_search(gap, match, std::regex(R"re( d="([^"]*)")re")));
  EXPECT_EQ(count_of(match[1], "M"), 2U);
  EXPECT_EQ(count_of(match[1], "L"), 2U);
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
  std::smatch match;
  ASSERT_TRUE(std::regex_search(text, match, std::regex(R"re( d="([^"]*)")re")));
  const std::string path = match[1];
  double highest = 1e9, lowest = 0;
  const std::regex pair(R"([ML](-?[0-9.]+) (-?[0-9.]+))");
  for (std::sregex_iterator it(path.begin(), path.end(), pair), end; it != end; ++it) {
    highest = std::min(highest, std::stod((*it)[2]));
    lowest = std::max(lowest, std::stod((*it)[2]));
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
