// Whether what is committed (the page, the history and its plot) is what the result files say.
#pragma once

#include <string>
#include <vector>

#include "bench/history.h"
#include "bench/page.h"

namespace rlcpp::bench {

// One line for each line of `page` that render_page would write differently today, with its number, and for
// each that is missing or too many; empty: the page is right. When and where the page was written (time,
// commit, machine) and its two percentages are the page's own word. `name` is what the lines call the file;
// `history` and `sections` are those of PageFacts.
std::vector<std::string> page_differences(const std::string& name, const std::string& page,
                                          const std::vector<Result>& results, const Baselines& baselines,
                                          const std::vector<Peer>& peers, const std::string& history,
                                          const std::string& sections = {});

// One line for each successful result that the history does not have, or has with another figure, and one if
// `plot`, the text of its SVG, is not drawn from it.
std::vector<std::string> history_differences(const std::vector<HistoryPoint>& points, const std::string& plot,
                                             const std::vector<Result>& results);

}  // namespace rlcpp::bench
