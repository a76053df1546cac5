#include "app/rl_report.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/run_curves.h"
#include "app/run_start.h"

namespace rlcpp::app {
namespace {

// The evaluation metrics of a run are not known beforehand: their names hold environments and counts.
std::vector<std::string> evaluation_names(const std::string& run_dir) {
  std::vector<std::string> names;
  std::ifstream file(run_dir + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    if (line.find("\"eval/") == std::string::npos) continue;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    for (const auto& [name, value] : json.items()) {
      const bool average = name.starts_with("eval/") && name.find("/avg@") != std::string::npos;
      if (average && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

// Mean of the first or last five values: one step alone is noise.
double mean_of_five(const std::vector<double>& values, bool last) {
  const std::size_t count = std::min<std::size_t>(5, values.size());
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += values[last ? values.size() - 1 - i : i];
  return count == 0 ? std::nan("") : sum / static_cast<double>(count);
}

std::string arrow(double from, double to, int decimals = 4) {
  return fmt::format("{:.{}f} -> {:.{}f}", from, decimals, to, decimals);
}

std::vector<std::string> next_commands(const RlReport& report) {
  if (!report.saves) return {};
  std::vector<std::string> words = report.command_line;
  if (words.empty()) words = {"rlcpp", "rl"};
  if (report.signal != 0) return {continue_command(words, !report.checkpoint.empty())};
  std::vector<std::string> next = {fmt::format("{} curves --runs {} --out {}", shell_quote(words.front()),
                                               shell_quote(report.run_dir),
                                               shell_quote(report.run_dir + "/curves.svg"))};
  if (report.max_steps > 0)
    next.push_back(longer_command(words, std::max(report.max_steps, report.progress.step)));
  return next;
}

}  // namespace

RlRecord read_record(const std::string& run_dir) {
  const std::vector<std::string> evals = evaluation_names(run_dir);
  std::vector<std::string> names = {"reward/mean",    "val_reward/mean",  "loss/mean",
                                    "entropy/mean",   "mismatch_kl/mean", "completion_len/mean",
                                    "optim/grad_norm"};
  names.insert(names.end(), evals.begin(), evals.end());
  std::vector<monitor::Curve> curves = read_curves(run_dir, kRlProducer, names);
  RlRecord out;
  out.reward = curves[0];
  out.val_reward = curves[1];
  out.loss = curves[2];
  out.entropy = curves[3];
  out.mismatch_kl = curves[4];
  out.length = curves[5];
  out.grad_norm = curves[6];
  out.evals.assign(curves.begin() + 7, curves.end());
  return out;
}

bool RlRecord::has_points() const {
  return any_point({reward, val_reward, loss, entropy, mismatch_kl, length, grad_norm}) || any_point(evals);
}

namespace {

// The same as the rows of the result, as numbers.
nlohmann::ordered_json values_of(const RlRecord& record, const RlReport& report) {
  nlohmann::ordered_json values;
  values["steps"] = report.steps;
  values["steps_here"] = report.steps_here;
  if (!record.reward.y.empty()) {  // means of five steps
    values["reward_first"] = mean_of_five(record.reward.y, false);
    values["reward_last"] = mean_of_five(record.reward.y, true);
  }
  const auto ends = [&](const std::string& name, const monitor::Curve& curve) {
    if (curve.y.empty()) return;
    values[name + "_first"] = curve.y.front();
    values[name + "_last"] = curve.y.back();
  };
  ends("val_reward", record.val_reward);
  for (const monitor::Curve& eval : record.evals) ends(eval.name, eval);
  ends("loss", record.loss);
  ends("entropy", record.entropy);
  ends("completion_length", record.length);
  if (!record.mismatch_kl.y.empty())
    values["mismatch_kl_max"] = *std::max_element(record.mismatch_kl.y.begin(), record.mismatch_kl.y.end());
  values["tokens"] = report.progress.total_tokens;
  values["rollouts"] = report.progress.total_samples;
  values["prompts"] = report.progress.total_problems;
  values["steps_skipped"] = report.skipped;
  values["seconds"] = report.seconds;
  values["planned_memory"] = report.planned_memory;
  values["peak_memory"] = report.peak_memory;
  values["checkpoint"] =
      report.checkpoint.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(report.checkpoint);
  values["weights"] =
      report.weights_dir.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(report.weights_dir);
  values["curves"] =
      record.has_points() ? nlohmann::ordered_json(report.run_dir + "/curves.svg") : nlohmann::ordered_json();
  return values;
}

}  // namespace

RunResult final_result(const RlRecord& record, const RlReport& report) {
  RunResult result;
  result.title = report.signal == 0 ? "RL finished"
                                    : fmt::format("RL stopped by {} after step {}",
                                                  signal_name(report.signal), report.steps);
  auto& rows = result.rows;
  rows.push_back({"steps", fmt::format("{}{}", report.steps,
                                       report.steps_here == report.steps
                                           ? ""
                                           : fmt::format(" ({} of them now)", report.steps_here))});
  if (!record.reward.y.empty()) {
    rows.push_back(
        {"reward", arrow(mean_of_five(record.reward.y, false), mean_of_five(record.reward.y, true)) +
                       " (first and last five steps)"});
  }
  if (!record.val_reward.y.empty())
    rows.push_back({"validation reward", arrow(record.val_reward.y.front(), record.val_reward.y.back())});
  for (const monitor::Curve& eval : record.evals)
    rows.push_back({eval.name, arrow(eval.y.front(), eval.y.back())});
  if (!record.entropy.y.empty())
    rows.push_back({"entropy", arrow(record.entropy.y.front(), record.entropy.y.back())});
  if (!record.length.y.empty()) {
    rows.push_back(
        {"completion length", arrow(record.length.y.front(), record.length.y.back(), 1) + " tokens"});
  }
  if (!record.mismatch_kl.y.empty()) {
    rows.push_back(
        {"mismatch KL", fmt::format("{:.3g} at most", *std::max_element(record.mismatch_kl.y.begin(),
                                                                        record.mismatch_kl.y.end()))});
  }
  rows.push_back({"tokens", monitor::compact(static_cast<double>(report.progress.total_tokens))});
  rows.push_back({"rollouts", fmt::format("{} of {} prompts", report.progress.total_samples,
                                          report.progress.total_problems)});
  if (report.skipped > 0) rows.push_back({"steps skipped", fmt::format("{} (not finite)", report.skipped)});
  rows.push_back({"time", monitor::duration(report.seconds)});
  rows.push_back({"memory", report.memory});
  if (!report.checkpoint.empty()) rows.push_back({"checkpoint", report.checkpoint});
  rows.push_back({"weights", !report.weights_dir.empty() ? report.weights_dir
                             : report.saves              ? "not exported"
                                                         : "not saved: ckpt is None"});
  if (record.has_points()) rows.push_back({"curves", report.run_dir + "/curves.svg"});
  if (!record.reward.y.empty()) result.curves.push_back({"reward", record.reward.y});
  if (record.val_reward.y.size() > 1) result.curves.push_back({"validation reward", record.val_reward.y});
  if (!record.entropy.y.empty()) result.curves.push_back({"entropy", record.entropy.y});
  result.values = values_of(record, report);
  result.next = next_commands(report);
  return result;
}

std::string curves_svg(const RlRecord& record, const RlReport& report) {
  monitor::Panel reward{"Reward", "step", "mean reward", {record.reward}};
  reward.curves[0].name = "training";
  if (!record.val_reward.y.empty()) {
    reward.curves.push_back(record.val_reward);
    reward.curves.back().name = "validation";
  }
  for (const monitor::Curve& eval : record.evals) reward.curves.push_back(eval);
  return monitor::svg("RL of " + report.model, {reward,
                                                {"Loss", "step", "loss", {record.loss}},
                                                {"Entropy", "step", "nats per token", {record.entropy}},
                                                {"Completion length", "step", "tokens", {record.length}},
                                                {"Gradient norm", "step", "", {record.grad_norm}},
                                                {"Mismatch KL", "step", "", {record.mismatch_kl}}});
}

std::string evaluation_line(const monitor::Metrics& metrics) {
  std::string out = "eval";
  for (const auto& [name, value] : metrics.items()) {
    const std::size_t average = name.find("/avg@");
    if (average == std::string::npos) continue;
    out += fmt::format("  {} {} {:.4f}", name.substr(5, average - 5), name.substr(average + 1), value);
  }
  return out;
}

std::string data_text(const orchestrator::Orchestrator& orchestrator, const RlConfig& config) {
  const auto sizes = [](const orchestrator::Environments& environments) {
    std::string out;
    for (std::int64_t env = 0; env < environments.count(); ++env) {
      out += fmt::format("{}{} ({} tasks)", env == 0 ? "" : ", ", environments.name(env),
                         environments.at(env).size());
    }
    return out;
  };
  const orchestrator::OrchestratorSection& section = config.orchestrator;
  std::string out =
      fmt::format("{}; {} rollouts a step, {} of each prompt, of at most {} tokens; rows of {} tokens",
                  sizes(orchestrator.environments()), section.batch_size, section.rollouts_per_example,
                  section.seq_len, config.row_tokens());
  if (section.val.has_value()) {
    out += fmt::format("; validation on {} of {} every {} steps", orchestrator.validation_examples(),
                       sizes(*orchestrator.validation_environments()), section.val->interval);
  }
  if (section.eval.has_value()) out += fmt::format("; evaluation every {} steps", section.eval->interval);
  return out;
}

}  // namespace rlcpp::app
