// Figures that stand in documents (README.md and others) and come from the page or from committed curves:
// benchmarks/figures.toml lists them, `rlcpp report --check` compares them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config/schema.h"
#include "bench/peers.h"
#include "bench/result.h"

namespace rlcpp::bench {

// A figure in a text. A row of the results is named by the columns of the page; keys not given fit any row,
// but `ac`, which is None then. Figures of rollouts and of steps of rl are named by file and place.
struct Figure {
  std::string file;
  std::string text;  // as it stands in the file, {} for the figure; any white space for white space
  std::string value = "tokens_per_second";
  double scale = 1;  // the figure is the value over this
  std::optional<std::string> model, type, hardware, ac, numeric_mode;
  std::optional<std::int64_t> seq_len;
  std::string peer;   // smallest_ratio and largest_ratio: how the peer's name begins
  std::string curve;  // points, first and last: an SVG that `rlcpp curves` wrote
  std::string panel;  // title of its panel
  std::string json;   // a file with the figure at `pointer`, as "/loads/0/output_tokens_per_second"
  std::string pointer;

  void describe(config::Schema& s);
};

struct Figures {
  std::vector<Figure> figure;
  void describe(config::Schema& s);
};

// One line for each figure that is not what the results say, rounded to as many digits as the document has,
// or which its document does not have. A figure whose row, peer or curve is not there, or not just once, is
// bad_input: it could not be checked. Documents and curves are read relative to the current directory.
std::vector<std::string> figure_differences(const Figures& figures, const std::vector<Result>& results,
                                            const std::vector<Peer>& peers);

}  // namespace rlcpp::bench
