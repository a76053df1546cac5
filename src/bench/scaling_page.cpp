#include "bench/scaling_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "bench/page.h"
#include "bench/page_text.h"
#include "monitor/console.h"

namespace rlcpp::bench {
namespace {

// What the rows of a line share, but for their scaling.
bool same_kind(const RunConfig& a, const RunConfig& b) {
  return a.model_name == b.model_name && a.type == b.type && a.lora_rank == b.lora_rank &&
         a.seq_len == b.seq_len && a.ac == b.ac;
}

bool usable(const Result& r, const RunConfig& kind, const std::string& device_name) {
  return r.config.success && r.config.device_name == device_name && same_kind(r.config, kind) &&
         r.config.publication.empty() && r.config.memory_limit.empty() && r.metrics.throughput.mean > 0;
}

const Result* measured_row(const std::vector<Result>& results, const RunConfig& row,
                           const std::string& device_name) {
  const auto found = std::find_if(results.begin(), results.end(), [&](const Result& r) {
    return usable(r, row, device_name) && r.config.scaling == row.scaling &&
           r.config.num_gpus == row.num_gpus && r.config.micro_batches == row.micro_batches;
  });
  return found == results.end() ? nullptr : &*found;
}

// The fewest GPUs; of as many, the row of the line itself before one of no scaling.
const Result* calibrating_row(const std::vector<Result>& results, const RunConfig& line,
                              const std::string& device_name) {
  const Result* best = nullptr;
  const auto rank = [&](const Result& r) {
    return std::tuple(r.config.num_gpus, r.config.scaling != line.scaling);
  };
  for (const Result& r : results) {
    if (!usable(r, line, device_name)) continue;
    if (r.config.scaling != line.scaling && !r.config.scaling.empty()) continue;
    if (best == nullptr || rank(r) < rank(*best)) best = &r;
  }
  return best;
}

// A single GPU has no level; several have the first.
ScaledRun run_of(const RunConfig& c) {
  return {.gpus = static_cast<int>(c.num_gpus), .rows = static_cast<int>(c.micro_batches), .zero = 1};
}

double tokens_of(const RunConfig& c) {
  return static_cast<double>(c.seq_len * c.micro_batches * c.num_gpus);
}

std::string per_cent(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

std::string cell_text(const ScalingCell& c) {
  std::string text = c.tokens_per_second ? thousands(*c.tokens_per_second) : "not measured";
  if (c.efficiency && c.gpus > 1) text += ", " + per_cent(*c.efficiency);
  if (c.predicted && c.gpus > 1) text += " (" + per_cent(*c.predicted) + ")";
  return text;
}

std::set<int> numbers_of_gpus(const std::vector<ScalingLine>& lines) {
  std::set<int> numbers;
  for (const ScalingLine& line : lines) {
    for (const ScalingCell& c : line.cells) numbers.insert(c.gpus);
  }
  return numbers;
}

std::string table_of(const std::vector<const ScalingLine*>& lines, const std::set<int>& numbers) {
  std::string out = "| Model | Type | SeqLen | AC |";
  std::string rule = "|-------|------|--------|----|";
  for (const int n : numbers) {
    out += fmt::format(" {} GPU{} |", n, n == 1 ? "" : "s");
    rule += "------|";
  }
  out += "\n" + rule + "\n";
  for (const ScalingLine* line : lines) {
    RunConfig plain = line->config;
    plain.scaling.clear();
    out += fmt::format("| {} | {} | {} | {} |", model_title(plain.model_name), plain.type_text(),
                       plain.seq_len, plain.ac);
    for (const int n : numbers) {
      const auto found = std::find_if(line->cells.begin(), line->cells.end(),
                                      [&](const ScalingCell& c) { return c.gpus == n; });
      out += found == line->cells.end() ? " – |" : " " + cell_text(*found) + " |";
    }
    out += "\n";
  }
  return out;
}

}  // namespace

std::vector<ScalingLine> scaling_lines(const std::vector<PlannedRow>& rows,
                                       const std::vector<Result>& results, const ScaledModels& models,
                                       const Links& links, const std::string& device_name) {
  std::vector<ScalingLine> lines;
  std::vector<std::vector<RunConfig>> members;
  for (const PlannedRow& row : rows) {
    const RunConfig& c = row.config;
    if (c.scaling.empty()) continue;
    const auto found = std::find_if(lines.begin(), lines.end(), [&](const ScalingLine& line) {
      return same_kind(line.config, c) && line.config.scaling == c.scaling;
    });
    const auto at = static_cast<std::size_t>(found - lines.begin());
    if (found == lines.end()) {
      lines.push_back({.config = c, .cells = {}});
      members.emplace_back();
    }
    members[at].push_back(c);
  }
  const ScalingConstants constants;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    ScalingLine& line = lines[i];
    std::sort(members[i].begin(), members[i].end(),
              [](const RunConfig& a, const RunConfig& b) { return a.num_gpus < b.num_gpus; });
    const std::optional<ScaledModel> model = models(line.config.model_name, line.config.lora_rank);
    const Result* from = calibrating_row(results, line.config, device_name);
    const bool predictable = model && links.any() && from != nullptr && members[i].front().num_gpus == 1;
    double row_seconds = 0;
    if (predictable) {
      line.calibrated_on = static_cast<int>(from->config.num_gpus);
      row_seconds = row_seconds_of(*model, run_of(from->config), links, constants,
                                   tokens_of(from->config) / from->metrics.throughput.mean);
    }
    const auto predicted_rate = [&](const RunConfig& c) {
      return tokens_of(c) / predict_step(*model, run_of(c), links, constants, row_seconds).seconds();
    };
    const Result* one = measured_row(results, members[i].front(), device_name);
    for (const RunConfig& c : members[i]) {
      ScalingCell cell;
      cell.gpus = static_cast<int>(c.num_gpus);
      if (const Result* r = measured_row(results, c, device_name); r != nullptr) {
        cell.tokens_per_second = r->metrics.throughput.mean;
        if (one != nullptr && one->config.num_gpus == 1)
          cell.efficiency = *cell.tokens_per_second / (cell.gpus * one->metrics.throughput.mean);
      }
      if (predictable) cell.predicted = predicted_rate(c) / (cell.gpus * predicted_rate(members[i].front()));
      line.cells.push_back(cell);
    }
  }
  return lines;
}

std::string render_scaling(const std::vector<ScalingLine>& lines, const std::string& device_name,
                           const Links& links, const std::string& plot) {
  if (lines.empty()) return {};
  const std::set<int> numbers = numbers_of_gpus(lines);
  std::string out = "\n## Scaling\n\n";
  out += fmt::format(
      "{}. A cell has tokens/s, the efficiency (tokens/s over those of one GPU times the number of GPUs), "
      "and in brackets the efficiency that the model of communication in docs/performance.md predicts.\n",
      device_name);
  std::vector<std::string> known, unknown;
  for (const int n : numbers) {
    if (n > 1) (links.measured(n) ? known : unknown).push_back(std::to_string(n));
  }
  if (!known.empty()) {
    out += fmt::format("Collectives were measured on {} GPUs{}.\n", fmt::join(known, " and "),
                       unknown.empty() ? ""
                                       : fmt::format("; those of {} are predicted with the same latency and "
                                                     "speed of a link",
                                                     fmt::join(unknown, " and ")));
  }
  if (!plot.empty())
    out += fmt::format("\n![Efficiency by number of GPUs, predicted and measured]({})\n", plot);
  for (const auto& [scaling, title] : {std::pair("weak", "Weak: as many rows for each GPU"),
                                       std::pair("strong", "Strong: as many rows for each step")}) {
    std::vector<const ScalingLine*> some;
    for (const ScalingLine& line : lines) {
      if (line.config.scaling == scaling) some.push_back(&line);
    }
    if (!some.empty()) out += fmt::format("\n### {}\n\n", title) + table_of(some, numbers);
  }
  return out;
}

std::string scaling_svg(const std::vector<ScalingLine>& lines) {
  std::map<std::pair<std::string, std::string>, monitor::Panel> panels;
  for (const ScalingLine& line : lines) {
    const std::string model = model_title(line.config.model_name);
    const bool weak = line.config.scaling == "weak";
    monitor::Panel& panel = panels[{weak ? "" : "strong", model}];
    panel.title = fmt::format("{}, {}", model, weak ? "weak" : "strong");
    panel.x_label = "GPUs";
    panel.y_label = "efficiency, %";
    RunConfig plain = line.config;
    plain.scaling.clear();
    monitor::Curve predicted{plain.type_text() + ", predicted", {}, {}},
        measured{plain.type_text() + ", measured", {}, {}};
    for (const ScalingCell& c : line.cells) {
      const auto add = [&](monitor::Curve& curve, const std::optional<double>& share) {
        if (!share) return;
        curve.x.push_back(c.gpus);
        curve.y.push_back(100 * *share);
      };
      add(predicted, c.predicted);
      add(measured, c.efficiency);
    }
    for (monitor::Curve* curve : {&predicted, &measured}) {
      if (curve->x.size() > 1) panel.curves.push_back(std::move(*curve));
    }
  }
  std::vector<monitor::Panel> all;
  for (auto& [key, panel] : panels) {
    const bool measured = std::any_of(panel.curves.begin(), panel.curves.end(),
                                      [](const monitor::Curve& c) { return c.name.ends_with("measured"); });
    if (!measured) panel.title += " (not measured)";
    all.push_back(std::move(panel));
  }
  return monitor::svg("Efficiency of several GPUs", all);
}

}  // namespace rlcpp::bench
