#include "bench/rollout_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_problem.h"
#include "base/json_text.h"
#include "bench/json_files.h"
#include "bench/page.h"
#include "bench/page_text.h"

namespace rlcpp::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOurs = "rlcpp";

struct Row {
  const RolloutFile* file;
  const RolloutFigure* figure;
  bool ours() const { return file->engine == kOurs; }
  std::string load() const {
    return figure->variant.empty() ? figure->load : figure->load + ", " + figure->variant;
  }
};

bool same_work(const Row& a, const Row& b) {
  const RolloutFigure &x = *a.figure, &y = *b.figure;
  return x.load == y.load && x.variant == y.variant && x.sequences == y.sequences &&
         x.prompt_tokens == y.prompt_tokens && x.output_tokens == y.output_tokens;
}

std::string time_line_of(const RolloutFigure& f) {
  std::string out;
  for (const char* part : {"forward", "sampling", "scheduler", "host"}) {
    const auto found = f.time_line.find(part);
    if (found == f.time_line.end()) return "–";
    out += fmt::format("{}{:.0f}", out.empty() ? "" : " / ", 100 * found->second / f.seconds);
  }
  return out + " %";
}

// Of our rows with the same work the fastest.
std::string times_ours(const Row& peer, const std::vector<Row>& rows) {
  double best = 0;
  for (const Row& r : rows) {
    if (r.ours() && same_work(r, peer)) best = std::max(best, r.figure->tokens_per_second);
  }
  return best > 0 ? fmt::format("{:.1f} times as fast", best / peer.figure->tokens_per_second) : "–";
}

std::string line_of(const Row& row, const std::vector<Row>& rows) {
  const RolloutFigure& f = *row.figure;
  return fmt::format("| {} | {} | {}, {} | {} | {} | {} | {} | {:.2f} s | {:.2f} ms | {} | {} | {} | {} |\n",
                     cell(row.load()), cell(row.file->engine), row.file->numeric_mode, row.file->dtype,
                     f.sequences, f.prompt_tokens, f.output_tokens, thousands(f.tokens_per_second), f.seconds,
                     f.step_ms, f.ratio ? fmt::format("{:.2f}", *f.ratio) : "–",
                     row.ours() ? "–" : times_ours(row, rows), time_line_of(f), cell(row.file->commit));
}

// The same work side by side, ours before peers, in the order of the first of each.
void put_together(std::vector<Row>& rows) {
  std::vector<Row> out;
  std::vector<char> taken(rows.size(), 0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const bool ours : {true, false}) {
      for (std::size_t j = i; taken[i] == 0 && j < rows.size(); ++j) {
        if (rows[j].ours() == ours && taken[j] == 0 && same_work(rows[i], rows[j])) {
          out.push_back(rows[j]);
          if (j != i) taken[j] = 1;
        }
      }
    }
    taken[i] = 1;
  }
  rows = std::move(out);
}

}  // namespace

RolloutFile rollouts_from_json(const std::string& text, const std::string& where) {
  RolloutFile file;
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    const Json& config = whole.at("config");
    file.engine = config.at("engine");
    file.model_name = config.at("model_name");
    file.device_name = config.at("device_name");
    file.numeric_mode = config.at("numeric_mode");
    file.dtype = config.at("dtype");
    file.timestamp = config.at("timestamp");
    file.commit = config.contains("commit_sha") ? config.at("commit_sha").get<std::string>()
                                                : config.at("versions").value(file.engine, std::string("–"));
    for (const Json& load : whole.at("loads")) {
      RolloutFigure f;
      f.load = load.at("load");
      f.variant = load.at("variant");
      f.sequences = whole_number<std::int64_t>(load.at("sequences"));
      f.prompt_tokens = whole_number<std::int64_t>(load.at("prompt_tokens"));
      f.output_tokens = whole_number<std::int64_t>(load.at("output_tokens"));
      f.seconds = load.at("seconds");
      f.tokens_per_second = load.at("tokens_per_second");
      f.step_ms = load.at("step_ms");
      if (load.contains("ratio") && load.at("ratio").is_number()) f.ratio = load.at("ratio").get<double>();
      if (load.contains("time_line")) f.time_line = load.at("time_line").get<std::map<std::string, double>>();
      file.figures.push_back(std::move(f));
    }
  } catch (const Json::exception& problem) {
    throw bad_input(where + " does not have the figures of a rollout engine", json_problem(problem, text),
                    "rlcpp bench rollout --output-json FILE writes such a file");
  }
  const auto wrong = [](const RolloutFigure& f) {
    return f.load.empty() || f.sequences < 1 || f.prompt_tokens < 1 || f.output_tokens < 1 ||
           !(f.seconds > 0) || !(f.tokens_per_second > 0);
  };
  if (file.engine.empty() || std::any_of(file.figures.begin(), file.figures.end(), wrong)) {
    throw bad_input(where + " has figures that no run can have",
                    "it needs an engine, and sequences, tokens and seconds above 0",
                    "rlcpp bench rollout --output-json FILE writes such a file");
  }
  return file;
}

std::vector<RolloutFile> read_rollouts(const std::string& path) {
  const std::vector<std::string> names = json_files(path);
  std::vector<RolloutFile> files;
  files.reserve(names.size());
  for (const std::string& name : names) files.push_back(rollouts_from_json(durable::read_file(name), name));
  return files;
}

std::string render_rollouts(const std::vector<RolloutFile>& files) {
  TitledRows<Row> tables;
  for (const RolloutFile& file : files) {
    const std::string title = fmt::format("{} on {}", model_title(file.model_name), file.device_name);
    for (const RolloutFigure& figure : file.figures) rows_under(tables, title).push_back({&file, &figure});
  }
  if (tables.empty()) return {};
  std::string out =
      "\n## Rollouts\n\nThe engine alone, by load (docs/benchmarking.md says what each is). Tokens/s are of "
      "completions, with prefill of prompts. Ratio: the device's roofline over the time measured, with "
      "decode "
      "of a step. Time line: forward / sampling / scheduler / host.\n";
  for (auto& [title, rows] : tables) {
    put_together(rows);
    out += fmt::format("\n### {}\n\n", title);
    out +=
        "| Load | Engine | Mode | Sequences | Tokens in | Tokens out | Tokens/s | Time | Step | Ratio | "
        "rlcpp "
        "is | Time line | Commit |\n"
        "|------|--------|------|-----------|-----------|------------|----------|------|------|-------|------"
        "-"
        "---|-----------|--------|\n";
    for (const Row& row : rows) out += line_of(row, rows);
  }
  return out;
}

}  // namespace rlcpp::bench
