#include "app/run_start.h"

#include <csignal>

#include <fmt/format.h>

#include "app/run_clock.h"
#include "app/run_console.h"
#include "train/checkpoint.h"

namespace rlcpp::app {
namespace {

nlohmann::ordered_json memory_json(const MemoryPlan& plan, std::size_t limit) {
  nlohmann::ordered_json out;
  for (const MemoryUse use : memory_uses()) {
    if (const std::size_t bytes = plan.bytes_of(use); bytes > 0) out[std::string(name_of(use))] = bytes;
  }
  out["planned"] = plan.total_bytes();
  out["available"] = limit;
  if (plan.host_bytes() > 0) out["host"] = plan.host_bytes();
  return out;
}

nlohmann::ordered_json dry_run_json(const RunStart& start, const RunFacts& facts) {
  nlohmann::ordered_json out;
  out["command"] = start.command;
  out["device"] = facts.device;
  if (!facts.mode.empty()) out["numeric_mode"] = facts.mode;
  if (!facts.ranks.empty()) out["ranks"] = facts.ranks;
  out["model"] = facts.model;
  out["data"] = facts.data;
  out["configuration"] = nlohmann::ordered_json::parse(config::to_json(start.configuration));
  out["origins"] = nlohmann::ordered_json::object();
  for (const auto& [key, origin] : start.loaded.origins) out["origins"][key] = origin;
  out["memory"] = memory_json(facts.plan, facts.memory_limit);
  out[facts.samples_name] = facts.samples_json();
  return out;
}

}  // namespace

std::unique_ptr<RunDirectory> open_run(const RunStart& start, Logger& log) {
  if (!start.files) return nullptr;
  const RunSection& run = start.run;
  if (!start.first) {
    if (start.invocation.dry_run) return nullptr;
    return std::make_unique<RunDirectory>(RunDirectory::follow(run.output_dir));
  }
  const bool resuming = start.ckpt.has_value() && start.ckpt->resume_step.has_value();
  const OpenRun how = run.clean ? OpenRun::kClean : resuming ? OpenRun::kResume : OpenRun::kFresh;
  if (start.invocation.dry_run) {
    RunDirectory::check(run.output_dir, how);
    if (resuming && start.by_checkpoint)
      train::resolve_resume_step(run.output_dir + "/checkpoints", *start.ckpt->resume_step, nullptr);
    return nullptr;
  }
  auto out = std::make_unique<RunDirectory>(run.output_dir, how, log);
  // The reference calls the log of the trainer so, whatever the command.
  const std::string name = start.command == "sft" ? "trainer" : start.command;
  // Before anything else: it is what proves to a later --clean that the files here are a run's.
  out->write("configs/resolved.toml", config::to_toml(start.configuration, &start.loaded.origins));
  if (start.log_section.file) log.open_file(*out / ("logs/" + name + ".log"));
  return out;
}

bool announce(const RunStart& start, const RunFacts& facts, Logger& log) {
  const bool dry = start.invocation.dry_run;
  if (!start.first) return !dry;
  Banner banner;
  banner.command = start.command;
  banner.mode = facts.mode;
  banner.device = facts.device;
  banner.ranks = facts.ranks;
  banner.model = facts.model;
  banner.data = facts.data;
  banner.overrides = overrides(start.configuration, start.loaded.origins);
  banner.plan = facts.plan.table(facts.memory_limit);
  if (start.files) {
    banner.run = start.run.output_dir +
                 (dry ? " (a dry run writes nothing there)" : " (configs/resolved.toml has every value)");
  }
  print_banner(banner, log);
  if (!dry) return true;
  print_result(
      start.invocation.json
          ? dry_run_json(start, facts).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                "\n"
          : facts.samples());
  log.success(facts.device_absent
                  ? "dry run: the plan is for a GPU that is not here, scratch of its libraries is estimated"
                  : "dry run: everything fits; leave out --dry-run to start");
  return false;
}

ExitCode exit_of(int signal) {
  if (signal == SIGINT) return ExitCode::kInterrupted;
  return signal == 0 ? ExitCode::kDone : ExitCode::kTerminated;
}

std::string signal_name(int signal) {
  return signal == SIGINT ? "SIGINT" : signal == SIGHUP ? "SIGHUP" : "SIGTERM";
}

void stop_if_asked() {
  if (const int signal = stop_signal(); signal != 0)
    throw Error(exit_of(signal), "stopped by " + signal_name(signal), "nothing is left behind");
}

std::string continue_command(const std::vector<std::string>& words, bool saved) {
  // Without a checkpoint the directory still counts as used.
  return command_without(words, {"--ckpt.resume-step", "--clean", "--no-clean"}) +
         (saved ? " --ckpt.resume-step -1" : " --clean");
}

std::string longer_command(const std::vector<std::string>& words, std::int64_t max_steps) {
  // A trace is of a short run.
  return command_without(words,
                         {"--ckpt.resume-step", "--clean", "--no-clean", "--max-steps", "--trace-path"}) +
         fmt::format(" --ckpt.resume-step -1 --max-steps {}", 2 * max_steps);
}

}  // namespace rlcpp::app
