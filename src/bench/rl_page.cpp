#include "bench/rl_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

constexpr const char* kHelp = "rlcpp bench rl --output-json FILE writes such a file";

std::string line_of(const RlFile& f) {
  const auto share = [&](double part) { return fmt::format("{:.0f}", 100 * part / f.step); };
  const std::string what = f.lora_rank ? fmt::format("LoRA(r={})", *f.lora_rank) : "Full";
  return fmt::format(
      "| {} | {} | {} | {} of {} + {} | {:.3f} s | {} / {} / {} / {} % | {:.2f} ms | {} | {} | {} | "
      "{} | {:.1f} GiB | {} |\n",
      what, f.num_gpus, f.numeric_mode, f.sequences, f.prompt_tokens, f.output_tokens, f.step,
      share(f.rollouts), share(f.training), share(f.publication), share(f.waiting), 1e3 * f.publication,
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
      throw bad_input(where + " is no result of steps of rl", "its kind is another", kHelp);
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
    f.step = whole.at("step_seconds");
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
    throw bad_input(where + " does not have the figures of steps of rl", json_problem(problem, text), kHelp);
  }
  if (f.sequences < 1 || f.num_gpus < 1 || !(f.step > 0) || !(f.tokens_per_second > 0) ||
      std::min({f.rollouts, f.training, f.publication, f.waiting}) < 0) {
    throw bad_input(where + " has figures that no run can have", "it needs sequences and seconds above 0",
                    kHelp);
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
  for (const auto& [title, rows] : tables) {
    out += fmt::format("\n### {}\n\n", title);
    out +=
        "| Trained | GPUs | Mode | Rollouts | Step | Split | Publication | Tokens/s | Sampled | Trained | "
        "mismatch_kl "
        "| Peak | Commit |\n"
        "|---------|------|------|----------|------|-------|-------------|----------|---------|---------|----"
        "---------"
        "|------|--------|\n";
    for (const RlFile* row : rows) out += line_of(*row);
  }
  return out;
}

}  // namespace rlcpp::bench
