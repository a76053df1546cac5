// The tables of `rlcpp bench rollout`, for people and for machines.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench_rollout.h"
#include "app/version.h"
#include "base/durable.h"
#include "bench/runner.h"
#include "monitor/console.h"
#include "tensor/device.h"

namespace rlcpp::app {
namespace {

double over(double amount, double seconds) {
  return amount / std::max(seconds, 1e-12);
}

std::string title_of(const bench::RolloutLoad& load) {
  return load.variant.empty() ? load.name : load.name + ", " + load.variant;
}

}  // namespace

const RolloutPass& RolloutRow::pass() const {
  std::vector<const RolloutPass*> order;
  for (const RolloutPass& p : passes) order.push_back(&p);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>((order.size() - 1) / 2);
  std::nth_element(order.begin(), middle, order.end(),
                   [](const RolloutPass* a, const RolloutPass* b) { return a->seconds < b->seconds; });
  return **middle;
}

double RolloutRow::rate() const {
  return over(static_cast<double>(load.name == "prefill" ? load.prompt_tokens() : load.output_tokens()),
              seconds());
}

double RolloutRow::step_ms() const {
  const RolloutPass& p = pass();
  if (load.name == "decode")
    return 1e3 * p.decode_seconds / static_cast<double>(std::max<std::int64_t>(p.decode_forwards, 1));
  return 1e3 * p.seconds / static_cast<double>(std::max<std::int64_t>(p.forwards, 1));
}

double RolloutRow::ratio() const {
  if (!roofline.has_value()) return 0;
  if (load.name != "decode") return over(roofline->seconds(), seconds());
  return over(1e3 * roofline->decode_seconds / static_cast<double>(roofline->decode_steps), step_ms());
}

double RolloutReport::sharing() const {
  const RolloutRow *shared = nullptr, *separate = nullptr;
  for (const RolloutRow& row : rows) {
    if (row.load.name == "groups") (row.load.shares ? shared : separate) = &row;
  }
  return shared == nullptr || separate == nullptr ? 0 : shared->rate() / separate->rate();
}

std::string rollout_text(const RolloutReport& report) {
  std::vector<std::vector<std::string>> cells = {{"load", "requests", "sequences", "tokens in", "tokens out",
                                                  "s", "tokens/s", "roofline s", "ratio", "forwards",
                                                  "ms a step"}};
  std::vector<std::vector<std::string>> times = {
      {"of a step, %", "forward", "sampling", "scheduler", "host", "prefill", "cached", "preempted"}};
  for (const RolloutRow& row : report.rows) {
    const RolloutPass& p = row.pass();
    const std::string title = title_of(row.load);
    cells.push_back({title, fmt::format("{}", row.load.requests.size()),
                     fmt::format("{}", row.load.sequences()), fmt::format("{}", row.load.prompt_tokens()),
                     fmt::format("{}", row.load.output_tokens()), fmt::format("{:.3f}", p.seconds),
                     fmt::format("{:.0f}{}", row.rate(), row.load.name == "prefill" ? " in" : ""),
                     row.roofline.has_value() ? fmt::format("{:.3f}", row.roofline->seconds()) : "-",
                     row.roofline.has_value() ? fmt::format("{:.3f}", row.ratio()) : "-",
                     fmt::format("{}", p.forwards), fmt::format("{:.3f}", row.step_ms())});
    const auto share = [&](double seconds) { return fmt::format("{:.1f}", 100 * over(seconds, p.seconds)); };
    times.push_back({title, share(p.forward), share(p.sampling), share(p.scheduler), share(p.host),
                     fmt::format("{}", p.prefill_tokens), fmt::format("{}", p.cached_tokens),
                     fmt::format("{}", p.preemptions)});
  }
  std::string text = monitor::table(cells) + "\n" + monitor::table(times) + "\n";
  if (const double sharing = report.sharing(); sharing > 0)
    text += fmt::format("shared prompts are {:.2f} times as fast as separate ones\n", sharing);
  text += fmt::format("{} on {}, mode {}; {} pages of {} tokens, {} planned, {} at its peak; roofline: {}\n",
                      report.model, report.device_name, report.mode, report.num_pages, report.page_size,
                      monitor::gib(static_cast<double>(report.planned_bytes)),
                      monitor::gib(static_cast<double>(report.peak_bytes)),
                      report.machine.known() ? report.machine.source : "not known for this GPU");
  return text;
}

std::string rollout_json(const BenchRolloutConfig& config, const RolloutReport& report) {
  using Json = nlohmann::ordered_json;
  Json out;
  out["kind"] = "rollout";
  out["config"] = {{"engine", "rlcpp"},
                   {"model_name", report.model},
                   {"num_gpus", 1},
                   {"device_name", report.device_name},
                   {"numeric_mode", report.mode},
                   {"dtype", report.dtype},
                   {"scale", config.scale},
                   {"max_sequences", report.max_sequences},
                   {"max_batch_tokens", report.max_batch_tokens},
                   {"page_size", report.page_size},
                   {"num_pages", report.num_pages},
                   {"temperature", config.sampling.temperature},
                   {"top_k", config.sampling.top_k},
                   {"top_p", config.sampling.top_p},
                   {"min_p", config.sampling.min_p},
                   {"repetition_penalty", config.sampling.repetition_penalty},
                   {"commit_sha", commit_sha()},
                   {"timestamp", bench::utc_timestamp()},
                   {"versions", {{"rlcpp", version() + " " + commit_text()}, {"cuda", cuda::version()}}}};
  out["roofline"] = Json();
  if (report.machine.known()) {
    out["roofline"] = {{"bytes_per_second", report.machine.bytes_per_second},
                       {"flops_per_second", report.machine.flops},
                       {"source", report.machine.source}};
  }
  out["planned_bytes"] = report.planned_bytes;
  out["peak_bytes"] = report.peak_bytes;
  out["loads"] = Json::array();
  for (const RolloutRow& row : report.rows) {
    const RolloutPass& p = row.pass();
    Json line;
    line["load"] = row.load.name;
    line["variant"] = row.load.variant;
    line["requests"] = row.load.requests.size();
    line["sequences"] = row.load.sequences();
    line["prompt_tokens"] = row.load.prompt_tokens();
    line["output_tokens"] = row.load.output_tokens();
    line["seconds"] = p.seconds;
    line["seconds_each"] = Json::array();
    for (const RolloutPass& each : row.passes) line["seconds_each"].push_back(each.seconds);
    line["prompt_tokens_per_second"] = over(static_cast<double>(row.load.prompt_tokens()), p.seconds);
    line["output_tokens_per_second"] = over(static_cast<double>(row.load.output_tokens()), p.seconds);
    line["tokens_per_second"] = row.rate();
    line["forwards"] = p.forwards;
    line["step_ms"] = row.step_ms();
    line["time_line"] = {
        {"forward", p.forward}, {"sampling", p.sampling}, {"scheduler", p.scheduler}, {"host", p.host}};
    line["prefill_tokens"] = p.prefill_tokens;
    line["cached_tokens"] = p.cached_tokens;
    line["preemptions"] = p.preemptions;
    line["pages_peak"] = p.pages_peak;
    line["roofline_seconds"] = Json();
    line["ratio"] = Json();
    if (row.roofline.has_value()) {
      line["roofline_seconds"] = row.roofline->seconds();
      line["roofline_prefill_seconds"] = row.roofline->prefill_seconds;
      line["roofline_decode_seconds"] = row.roofline->decode_seconds;
      line["roofline_decode_steps"] = row.roofline->decode_steps;
      line["ratio"] = row.ratio();
    }
    out["loads"].push_back(std::move(line));
  }
  if (const double sharing = report.sharing(); sharing > 0) out["shared_over_separate"] = sharing;
  return out.dump(1) + "\n";
}

void give_result(const Invocation& invocation, const std::optional<std::string>& path,
                 const std::string& json, const std::string& text) {
  if (path.has_value()) {
    durable::FileLayer& files = durable::system_files();
    durable::make_directories(files, std::filesystem::absolute(*path).parent_path().string());
    durable::write_file(files, *path, json);
  }
  fmt::print("{}", invocation.json ? json : text);
}

}  // namespace rlcpp::app
