#include "bench/page_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace rlcpp::bench {
namespace {

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

// What stands between `before` and `after`, the first time; empty: nowhere.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const std::size_t begin = text.find(before);
  if (begin == std::string::npos) return {};
  const std::size_t end = text.find(after, begin + before.size());
  if (end == std::string::npos) return {};
  return text.substr(begin + before.size(), end - begin - before.size());
}

double percent(const std::string& text, double otherwise) {
  double value = 0;
  return std::istringstream(text) >> value ? value / 100 : otherwise;
}

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// Of two rows of one table the cells that differ, behind the cells that say which row it is; of other lines
// both whole.
std::string difference(const std::string& page, const std::string& right) {
  const std::vector<std::string> theirs = split(page, '|');
  const std::vector<std::string> ours = split(right, '|');
  constexpr std::size_t kNaming = 5;  // an empty one before the first bar, type, hardware, length, AC
  if (theirs.size() != ours.size() || ours.size() <= kNaming ||
      !std::equal(ours.begin(), ours.begin() + kNaming, theirs.begin()))
    return fmt::format("\"{}\", where the results say \"{}\"", page, right);
  std::string row;
  for (std::size_t i = 1; i < kNaming; ++i) row += (i == 1 ? "" : " ") + trimmed(ours[i]);
  std::string cells;
  for (std::size_t i = kNaming; i < ours.size(); ++i) {
    if (ours[i] != theirs[i])
      cells += fmt::format("{}{} where the results say {}", cells.empty() ? "" : ", ", trimmed(theirs[i]),
                           trimmed(ours[i]));
  }
  return row + ": " + cells;
}

}  // namespace

std::vector<std::string> page_differences(const std::string& name, const std::string& page,
                                          const std::vector<Result>& results, const Baselines& baselines,
                                          const std::vector<Peer>& peers, const std::string& history,
                                          const std::string& sections) {
  PageFacts facts;
  facts.updated = between(page, "**Last Updated:** ", "  \n");
  facts.commit = between(page, "**Commit:** ", "  \n");
  facts.machine = between(page, "**Machine:** ", "\n");
  facts.history = history;
  facts.sections = sections;
  Thresholds thresholds;
  thresholds.regression = percent(between(page, "a regression of more than ", " %"), thresholds.regression);
  thresholds.shown = percent(between(page, "differences are shown from ", " %"), thresholds.shown);
  const std::vector<std::string> theirs = split(page, '\n');
  const std::vector<std::string> ours =
      split(render_page(results, baselines, thresholds, facts, peers), '\n');

  std::vector<std::string> lines;
  if (theirs.size() == ours.size()) {
    for (std::size_t i = 0; i < ours.size(); ++i) {
      if (ours[i] != theirs[i])
        lines.push_back(fmt::format("{}:{}: {}", name, i + 1, difference(theirs[i], ours[i])));
    }
    return lines;
  }
  std::map<std::string, std::int64_t> surplus;  // how often the results say a line more often than the page
  for (const std::string& line : ours) ++surplus[line];
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    if (--surplus[theirs[i]] < 0 && !theirs[i].empty())
      lines.push_back(fmt::format("{}:{}: \"{}\" is not what the results say", name, i + 1, theirs[i]));
  }
  for (const std::string& line : ours) {
    if (!line.empty() && surplus[line] > 0) {
      --surplus[line];
      lines.push_back(fmt::format("{}: \"{}\" is missing", name, line));
    }
  }
  if (lines.empty()) lines.push_back(name + ": its lines are not the ones that `rlcpp report` writes");
  return lines;
}

std::vector<std::string> history_differences(const std::vector<HistoryPoint>& points, const std::string& plot,
                                             const std::vector<Result>& results) {
  std::map<std::pair<std::string, std::string>, const HistoryPoint*> known;
  for (const HistoryPoint& p : points) known.emplace(std::pair(p.identity, p.timestamp), &p);
  std::vector<std::string> lines;
  for (const Result& r : results) {
    if (!r.config.success) continue;
    const auto found = known.find({r.config.identity(), r.config.timestamp});
    if (found == known.end()) {
      lines.push_back(fmt::format("history: {} of {} is missing", r.config.identity(), r.config.timestamp));
    } else if (found->second->throughput != r.metrics.throughput.mean ||
               found->second->mfu != r.metrics.mfu.mean ||
               found->second->step_time != r.metrics.step_time.mean ||
               found->second->peak_memory_gib != r.metrics.peak_memory_gib) {
      lines.push_back(fmt::format(
          "history: {} of {} has other figures than the result: throughput {:g}, {:g}", r.config.identity(),
          r.config.timestamp, found->second->throughput, r.metrics.throughput.mean));
    }
  }
  if (plot != history_svg(points))
    lines.emplace_back("history: the plot is not the one of the history, or of another version of rlcpp");
  return lines;
}

}  // namespace rlcpp::bench
