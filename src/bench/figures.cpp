#include "bench/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"

namespace rlcpp::bench {
namespace {

constexpr const char* kHelp = "correct its entry in the file that --figures names";

std::string described(const Figure& f) {
  return fmt::format("the figure \"{}\" of {}", f.text, f.file);
}

bool fits(const Figure& f, const RunConfig& c) {
  const bool mode = f.numeric_mode ? *f.numeric_mode == c.numeric_mode : c.plain();
  return mode && (!f.model || *f.model == c.model_name) && (!f.type || *f.type == c.type_text()) &&
         (!f.hardware || *f.hardware == c.hardware_text()) && (!f.seq_len || *f.seq_len == c.seq_len);
}

std::vector<const Result*> rows_of(const Figure& f, const std::vector<Result>& results) {
  std::vector<const Result*> rows;
  for (const Result& r : results) {
    if (r.config.success && fits(f, r.config)) rows.push_back(&r);
  }
  return rows;
}

const Result& row_of(const Figure& f, const std::vector<Result>& results) {
  std::vector<const Result*> rows = rows_of(f, results);
  std::erase_if(rows, [&](const Result* r) { return r->config.ac != f.ac.value_or("None"); });
  if (rows.size() != 1)
    throw bad_input(
        described(f) + " is not of one row",
        fmt::format("{} successful results are of its model, type, hardware, seq_len and ac", rows.size()),
        kHelp);
  return *rows.front();
}

// Ours over the peer's, of rows with the peer's own recomputation.
double ratio_of(const Figure& f, const std::vector<Result>& results, const std::vector<Peer>& peers) {
  std::vector<double> ratios;
  for (const Result* r : rows_of(f, results)) {
    for (const Peer* peer : comparable_peers(r->config, peers)) {
      if (peer->name.starts_with(f.peer) && peer->error.empty() && peer->config.ac == r->config.ac)
        ratios.push_back(r->metrics.throughput.mean / peer->tokens_per_second);
    }
  }
  if (ratios.empty())
    throw bad_input(described(f) + " has nothing to be compared with",
                    "no row has a figure of a peer \"" + f.peer + "\" with the same recomputation", kHelp);
  return f.value == "smallest_ratio" ? *std::min_element(ratios.begin(), ratios.end())
                                     : *std::max_element(ratios.begin(), ratios.end());
}

// The points of a panel with one curve, from what an SVG shows when the mouse is over them: "NAME: X, Y".
double curve_value(const Figure& f) {
  const std::string svg = durable::read_file(f.curve);
  const std::size_t begin = svg.find("<title>" + f.panel + "</title>");
  if (begin == std::string::npos || f.panel.empty())
    throw bad_input(described(f) + " has no curve", f.curve + " has no panel \"" + f.panel + "\"", kHelp);
  const std::string panel = svg.substr(begin, svg.find("role=\"group\"", begin) - begin);
  static const std::regex point("<title>[^<]*: ([^<,]+), ([^<,]+)</title>");
  std::vector<double> values;
  for (std::sregex_iterator at(panel.begin(), panel.end(), point), end; at != end; ++at)
    values.push_back(std::stod((*at)[2]));
  if (values.empty())
    throw bad_input(described(f) + " has no curve", "the panel \"" + f.panel + "\" has no points", kHelp);
  if (f.value == "points") return static_cast<double>(values.size());
  return f.value == "first" ? values.front() : values.back();
}

double json_value(const Figure& f) {
  const nlohmann::json all = parse_json(durable::read_file(f.json));
  try {
    const nlohmann::json& found = all.at(nlohmann::json::json_pointer(f.pointer));
    if (found.is_number()) return found.get<double>();
  } catch (const nlohmann::json::exception&) {  // no such place, or no pointer
  }
  throw bad_input(described(f) + " is not in " + f.json, "it has no number at \"" + f.pointer + "\"", kHelp);
}

double value_of(const Figure& f, const std::vector<Result>& results, const std::vector<Peer>& peers) {
  if (!f.curve.empty()) return curve_value(f);
  if (!f.json.empty()) return json_value(f);
  if (f.value == "smallest_ratio" || f.value == "largest_ratio") return ratio_of(f, results, peers);
  const Result& r = row_of(f, results);
  if (f.value == "tokens_per_second") return r.metrics.throughput.mean;
  if (f.value == "mfu") return r.metrics.mfu.mean;
  if (f.value == "peak_memory_gib") return r.metrics.peak_memory_gib;
  throw bad_input(described(f) + " has no curve", "its value is " + f.value + ", and `curve` is empty",
                  kHelp);
}

std::regex pattern_of(const Figure& f) {
  const std::size_t hole = f.text.find("{}");
  if (hole == std::string::npos || f.text.find("{}", hole + 2) != std::string::npos)
    throw bad_input(described(f) + " has not one {}", "{} stands where the figure is", kHelp);
  std::string pattern;
  for (std::size_t i = 0; i < f.text.size(); ++i) {
    const char c = f.text[i];
    if (i == hole) {
      pattern += "([0-9]+(?:\\.[0-9]+)?)";
      ++i;
    } else if (c == ' ') {
      pattern += "\\s+";
    } else {
      if (std::ispunct(static_cast<unsigned char>(c)) != 0) pattern += '\\';
      pattern += c;
    }
  }
  return std::regex(pattern);
}

}  // namespace

void Figure::describe(config::Schema& s) {
  s.field("file", file, "The document.");
  s.field("text", text, "As it stands in the document, {} in the figure's place.");
  s.field("value", value, "What the figure is of.")
      .one_of({"tokens_per_second", "mfu", "peak_memory_gib", "smallest_ratio", "largest_ratio", "points",
               "first", "last"});
  s.field("scale", scale, "The figure is the value over this.").above(0);
  s.field("model", model, "Model of the row.");
  s.field("type", type, "Type of the row, as on the page.");
  s.field("hardware", hardware, "Hardware of the row, as on the page.");
  s.field("seq_len", seq_len, "Length of the row.").at_least(1);
  s.field("ac", ac, "AC of the row; of ratios, each row has its own.")
      .one_of({"None", "Selective", "Attention", "Recompute", "Offload", "OffloadAttention"});
  s.field("numeric_mode", numeric_mode,
          "How the row computes, if not in one of the two numeric modes: fp8, unordered.");
  s.field("peer", peer, "Of ratios: how the peer's name begins.");
  s.field("curve", curve, "Of points, first and last: the SVG.");
  s.field("panel", panel, "The panel's title.");
  s.field("json", json, "A JSON file that has the figure; instead of a row.");
  s.field("pointer", pointer, "Where the figure is in it: /loads/0/output_tokens_per_second.");
}

void Figures::describe(config::Schema& s) {
  s.list("figure", figure, "A figure in a document.");
}

std::vector<std::string> figure_differences(const Figures& figures, const std::vector<Result>& results,
                                            const std::vector<Peer>& peers) {
  std::vector<std::string> lines;
  for (const Figure& f : figures.figure) {
    const double value = value_of(f, results, peers) / f.scale;
    const std::string text = durable::read_file(f.file);
    const std::regex pattern = pattern_of(f);
    std::sregex_iterator at(text.begin(), text.end(), pattern);
    const std::sregex_iterator end;
    if (at == end) lines.push_back(fmt::format("{}: \"{}\" does not stand there", f.file, f.text));
    for (; at != end; ++at) {
      const std::string written = (*at)[1];
      const std::size_t point = written.find('.');
      const std::size_t digits = point == std::string::npos ? 0 : written.size() - point - 1;
      const std::string right = fmt::format("{:.{}f}", value, digits);
      const auto line = 1 + std::count(text.begin(), text.begin() + at->position(1), '\n');
      if (written != right)
        lines.push_back(fmt::format("{}:{}: {} in \"{}\", where the results say {}", f.file, line, written,
                                    f.text, right));
    }
  }
  return lines;
}

}  // namespace rlcpp::bench
