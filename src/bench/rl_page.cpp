#include "bench/rl_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
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

constexpr const char* kRlHelp = "rlcpp bench rl --output-json FILE writes such a file";

using Rows = std::vector<const RlFile*>;

bool same_work(const RlFile& a, const RlFile& b) {
  return a.lora_rank == b.lora_rank && a.num_gpus == b.num_gpus && a.sequences == b.sequences &&
         a.prompt_tokens == b.prompt_tokens && a.output_tokens == b.output_tokens && a.seq_len == b.seq_len;
}

// In the order of the first of each work.
Rows put_together(const Rows& rows) {
  Rows out;
  for (const RlFile* first : rows) {
    if (std::find(out.begin(), out.end(), first) != out.end()) continue;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(out),
                 [&](const RlFile* r) { return same_work(*first, *r); });
  }
  return out;
}

bool any_forward(const Rows& rows) {
  return std::any_of(rows.begin(), rows.end(), [](const RlFile* r) { return r->forward.has_value(); });
}

std::string forward_of(const RlFile& f, const Rows& rows) {
  if (!f.forward) return "–";
  const auto fast = std::find_if(rows.begin(), rows.end(), [&](const RlFile* r) {
    return f.numeric_mode == "exact" && r->numeric_mode == "fast" && r->forward && same_work(f, *r);
  });
  const std::string price =
      fast == rows.end() ? "" : fmt::format(" ({:+.1f} %)", 100 * (*f.forward / *(*fast)->forward - 1));
  return fmt::format("{:.3f} s{}", *f.forward, price);
}

std::string line_of(const RlFile& f, const Rows& rows) {
  const auto share = [&](double part) { return fmt::format("{:.0f}", 100 * part / f.step); };
  const std::string what = f.lora_rank ? fmt::format("LoRA(r={})", *f.lora_rank) : "Full";
  return fmt::format(
      "| {} | {} | {} | {} of {} + {} | {:.3f} s | {} / {} / {} / {} % |{} {:.2f} ms | {} | {} | {} | "
      "{} | {:.1f} GiB | {} |\n",
      what, f.num_gpus, f.numeric_mode, f.sequences, f.prompt_tokens, f.output_tokens, f.step,
      share(f.rollouts), share(f.training), share(f.publication), share(f.waiting),
      any_forward(rows) ? " " + forward_of(f, rows) + " |" : "", 1e3 * f.publication,
      thousands(f.tokens_per_second), thousands(f.output_tokens_per_second),
      thousands(f.training_tokens_per_second),
      f.mismatch_kl == 0 ? "0" : fmt::format("{:.1e}", f.mismatch_kl), f.peak_bytes / (1 << 30),
      cell(f.commit));
}

}  // namespace

RlFile rl_from_json(const std::string& text, const std::string& where) {
  RlFile f;
  try {
    const Json whole = parse_json_or_throw<Json>(text);
    const Json& config = whole.at("config");
    if (whole.at("kind") != "rl_steps")
      throw bad_input(where + " is no result of steps of rl", "its kind is another", kRlHelp);
    f.model_name = config.at("model_name");
    f.device_name = config.at("device_name");
    f.numeric_mode = config.at("numeric_mode");
    f.commit = config.at("commit_sha");
    if (const Json& rank = config.at("lora_rank"); rank.is_number())
      f.lora_rank = whole_number<std::int64_t>(rank);
    f.num_gpus = whole_number<std::int64_t>(config.at("num_gpus"));
    f.sequences = std::int64_t{whole_number<std::int32_t>(config.at("groups"))} *
                  whole_number<std::int32_t>(config.at("completions"));
    f.prompt_tokens = whole_number<std::int64_t>(config.at("prompt_tokens"));
    f.output_tokens = whole_number<std::int64_t>(config.at("output_tokens"));
    f.seq_len = whole_number<std::int64_t>(config.at("seq_len"));
    f.step = whole.at("step_seconds");
    if (whole.contains("forward_seconds")) f.forward = whole.at("forward_seconds").get<double>();
    const Json& split = whole.at("split");
    f.rollouts = split.at("rollouts");
    f.training = split.at("training");
    f.publication = split.at("publication");
    f.waiting = split.at("waiting");
    f.tokens_per_second = whole.at("tokens_per_second");
    f.output_tokens_per_second = whole.at("output_tokens_per_second");
    f.training_tokens_per_second = whole.at("training_tokens_per_second");
    f.peak_bytes = whole.at("peak_bytes");
    for (const Json& mismatch : whole.at("mismatch_kl"))
      f.mismatch_kl = std::max(f.mismatch_kl, std::abs(mismatch.get<double>()));
  } catch (const Json::exception& problem) {
    throw bad_input(where + " does not have the figures of steps of rl", json_problem(problem, text),
                    kRlHelp);
  }
  if (f.sequences < 1 || f.num_gpus < 1 || !(f.step > 0) || !(f.tokens_per_second > 0) ||
      !(f.forward.value_or(1) > 0) || std::min({f.rollouts, f.training, f.publication, f.waiting}) < 0) {
    throw bad_input(where + " has figures that no run can have", "it needs sequences and seconds above 0",
                    kRlHelp);
  }
  return f;
}

std::vector<RlFile> read_rl(const std::string& path) {
  const std::vector<std::string> names = json_files(path);
  std::vector<RlFile> files;
  files.reserve(names.size());
  for (const std::string& name : names) files.push_back(rl_from_json(durable::read_file(name), name));
  return files;
}

std::string render_rl(const std::vector<RlFile>& files) {
  TitledRows<const RlFile*> tables;
  for (const RlFile& file : files) {
    const std::string title = fmt::format("{} on {}", model_title(file.model_name), file.device_name);
    rows_under(tables, title).push_back(&file);
  }
  if (tables.empty()) return {};
  std::string out =
      "\n## RL steps\n\nWhole steps of `rlcpp bench rl`: trainer and engine in one process on the same GPUs. "
      "Split: "
      "rollouts / training / publication / waiting. Tokens/s: prompts and completions over the step, "
      "completions "
      "over the rollouts, all over the training. mismatch_kl: the largest of the steps.\n";
  if (std::any_of(tables.begin(), tables.end(), [](const auto& t) { return any_forward(t.second); })) {
    out +=
        "Forward: of the step's rows in the trainer, to the log-probabilities, in a pass of its own; in mode "
        "exact with how much longer it is than in fast.\n";
  }
  for (const auto& [title, unordered] : tables) {
    const Rows rows = put_together(unordered);
    const bool forward = any_forward(rows);
    out += fmt::format("\n### {}\n\n", title);
    out += fmt::format(
        "| Trained | GPUs | Mode | Rollouts | Step | Split |{} Publication | Tokens/s | Sampled | Trained | "
        "mismatch_kl | Peak | Commit |\n"
        "|---------|------|------|----------|------|-------|{}-------------|----------|---------|---------|"
        "-------------|------|--------|\n",
        forward ? " Forward |" : "", forward ? "---------|" : "");
    for (const RlFile* row : rows) out += line_of(*row, rows);
  }
  return out;
}

}  // namespace rlcpp::bench
