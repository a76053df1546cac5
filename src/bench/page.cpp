#include "bench/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "bench/page_text.h"

namespace rlcpp::bench {
namespace {

constexpr const char* kMark = "⚠️";

std::string with_difference(const std::string& value, const Difference& d) {
  if (d.regression) return fmt::format("**{} ({:+.1f}%) {}**", value, 100 * d.relative, kMark);
  if (d.shown) return fmt::format("{} ({:+.1f}%)", value, 100 * d.relative);
  return value;
}

std::string seconds(double value) {
  return value < 0.1 ? fmt::format("{:.1f}ms", 1000 * value) : fmt::format("{:.2f}s", value);
}

std::string row_of(const Result& r, const Baselines& baselines, const Thresholds& t) {
  const Result* before = baselines.find(r.config);
  const Metrics none;
  const Metrics& old = before == nullptr ? none : before->metrics;
  const Metrics& m = r.metrics;
  return fmt::format(
      "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1f} GiB |\n", marked_type(r),
      cell(r.config.hardware_text()), r.config.seq_len, r.config.ac, r.config.attention,
      with_difference(fmt::format("{:.1f}%", m.mfu.mean), compare(m.mfu.mean, old.mfu.mean, true, t)),
      with_difference(thousands(m.throughput.mean), compare(m.throughput.mean, old.throughput.mean, true, t)),
      with_difference(seconds(m.step_time.mean), compare(m.step_time.mean, old.step_time.mean, false, t)),
      m.peak_memory_gib);
}

std::string detail_of(const Result& r) {
  const Extension& e = *r.extension;
  const double spread =
      r.metrics.step_time.mean > 0 ? 100 * r.metrics.step_time.std / r.metrics.step_time.mean : 0;
  return fmt::format(
      "| {} | {} | {} | {} | {} | {:.1f}% | {} | ±{:.1f}% | {:.2f} GiB | {:.2f} GiB | {} | {:.2f} TFLOP/s "
      "({}) | "
      "{} |\n",
      r.config.type_text(), cell(r.config.hardware_text()), r.config.seq_len, r.config.ac,
      r.config.numeric_mode, e.true_mfu.mean, e.step_seconds.size(), spread, e.planned_memory_gib,
      r.metrics.peak_memory_gib, seconds(e.first_step_seconds), e.peak_tflops, e.peak_source,
      r.config.commit_sha);
}

// The second table of a model: what the reference's page leaves out. Empty if no row's file has it.
std::string details_of(const std::vector<const Result*>& rows) {
  std::string lines;
  for (const Result* r : rows) {
    if (r->extension) lines += detail_of(*r);
  }
  if (lines.empty()) return lines;
  return "\n| Type | Hardware | SeqLen | AC | Numeric mode | True MFU | Steps | Spread | Planned | Peak | "
         "First "
         "step | Peak rate | Commit |\n"
         "|------|----------|--------|----|--------------|----------|-------|--------|---------|------|------"
         "-"
         "-----|-----------|--------|\n" +
         lines;
}

bool in_page_order(const Result* a, const Result* b) {
  const auto key = [](const Result* r) {
    return std::tuple(r->config.hardware_text(), r->config.type_text(), r->config.seq_len, r->config.ac,
                      r->config.attention, r->config.numeric_mode);
  };
  return key(a) < key(b);
}

}  // namespace

std::string model_title(const std::string& name) {
  const std::string ours = "configs/models/";
  return name.starts_with(ours) ? name.substr(ours.size()) : name;
}

std::string render_page(const std::vector<Result>& results, const Baselines& baselines,
                        const Thresholds& thresholds, const PageFacts& facts,
                        const std::vector<Peer>& peers) {
  std::string page = "# Performance Benchmarks\n\n";
  page += fmt::format("**Last Updated:** {}  \n**Commit:** {}  \n**Machine:** {}\n\n", facts.updated,
                      facts.commit, facts.machine);
  page += fmt::format(
      "{} marks a regression of more than {:g} % against the baseline; other differences are shown from "
      "{:g} %. Step time is the "
      "measured time of an optimizer step. What each figure means: docs/benchmarking.md. Written by `rlcpp "
      "report` at the commit and on the machine above; a row was measured on the hardware that it names, at "
      "the commit in its result file.\n",
      kMark, 100 * thresholds.regression, 100 * thresholds.shown);

  std::map<std::string, std::vector<const Result*>> models;
  std::vector<const Result*> failed;
  for (const Result& r : results) {
    if (r.config.success && !r.config.scaling.empty()) continue;  // facts.sections has them
    if (r.config.success) {
      models[r.config.model_name].push_back(&r);
    } else {
      failed.push_back(&r);
    }
  }
  for (auto& [model, rows] : models) {
    std::sort(rows.begin(), rows.end(), in_page_order);
    page += fmt::format("\n## {}\n\n", model_title(model));
    page += "| Type | Hardware | SeqLen | AC | Attn | MFU | TPS | Step Time | Peak Mem |\n";
    page += "|------|----------|--------|----|------|-----|-----|-----------|----------|\n";
    for (const Result* r : rows) page += row_of(*r, baselines, thresholds);
    if (std::any_of(rows.begin(), rows.end(), [](const Result* r) { return under_load(*r); })) {
      page += fmt::format(
          "\n{} measured under load: the machine's load average of one minute was more than one and a half "
          "times its "
          "cores.\n",
          kLoadMark);
    }
    if (std::any_of(rows.begin(), rows.end(),
                    [](const Result* r) { return !r->config.memory_limit.empty(); }))
      page += fmt::format(
          "\n{} planned within the memory that is named, as for a smaller card, whose speed this is not.\n",
          kMemoryMark);
    page += details_of(rows);
    page += render_peers(rows, peers);
  }
  page += facts.sections;
  if (!facts.history.empty())
    page += fmt::format("\n## History\n\n![Throughput of each row over time]({})\n", facts.history);
  if (!failed.empty()) {
    std::sort(failed.begin(), failed.end(), in_page_order);
    page +=
        "\n## Failed Benchmarks\n\n| Model | Type | Hardware | SeqLen | AC | Reason "
        "|\n|-------|------|----------|--------|----|--------|\n";
    for (const Result* r : failed) {
      page += fmt::format("| {} | {} | {} | {} | {} | {} |\n", model_title(r->config.model_name),
                          r->config.type_text(), cell(r->config.hardware_text()), r->config.seq_len,
                          r->config.ac, cell(r->config.error_reason));
    }
  }
  return page;
}

}  // namespace rlcpp::bench
