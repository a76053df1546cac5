// How every training command begins: log, signals, run directory, banner, dry run. And how it ends: exit
// code and next commands.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/run_config.h"
#include "app/run_directory.h"
#include "base/error.h"
#include "base/signals.h"
#include "tensor/arena.h"

namespace rlcpp::app {

// Calls `body(log)` with the log, the signal handlers and the fail points of a run in place. `saves`: a run
// that a signal stops leaves a checkpoint.
template <class Body>
auto with_run(const RunSection& run, const LogSection& section, const Invocation& invocation, bool saves,
              Body&& body) {
  run.validate();
  run.arm_fail_points();
  Logger log(merged_log(invocation.log, section));
  install_signal_handlers(
      {saves ? "finishing this step, then saving" : "finishing this step; nothing is saved",
       log.options().format == LogFormat::kJson});
  try {
    return body(log);
  } catch (const Error& e) {
    if (!invocation.dry_run) throw;
    // A dry run answers with 0 or 2, whatever the reason.
    throw Error(ExitCode::kBadInput, e.what(), e.because(), e.help());
  }
}

struct RunStart {
  std::string command;                                 // "sft"; names the log file too
  std::function<void(config::Schema&)> configuration;  // describes the resolved one
  const config::Loaded& loaded;
  const Invocation& invocation;
  const RunSection& run;
  const std::optional<CkptSection>& ckpt;
  const LogSection& log_section;
  bool files = true;          // false: --bench
  bool by_checkpoint = true;  // false: what a run goes on from is not in checkpoints/
  bool first = true;          // of several processes: the one that writes and speaks
};

// Opens output_dir as `start` asks, with its log and configs/resolved.toml. nullptr if the run has no files;
// and in a dry run, which makes the same checks and writes nothing. Throws as RunDirectory does, and
// bad_input if there is no checkpoint to resume from.
std::unique_ptr<RunDirectory> open_run(const RunStart& start, Logger& log);

// What the banner says of a run, and what a dry run shows of its data.
struct RunFacts {
  std::string device, model, data;
  const MemoryPlan& plan;
  std::size_t memory_limit;  // bytes that the plan may take
  std::string samples_name;  // "samples"
  std::function<std::string()> samples;
  std::function<nlohmann::ordered_json()> samples_json;
  bool device_absent = false;  // the plan is for a GPU that is not here
  std::string ranks = {};      // of ranks_text()
  std::string mode = {};       // numeric mode, where engine and trainer compute the same
};

// Prints the banner. False in a dry run, whose result is then on stdout: the samples; with --json one object
// with configuration, origins, memory plan (bytes) and samples.
bool announce(const RunStart& start, const RunFacts& facts, Logger& log);

// Of a run that `signal` stopped (0: none did).
ExitCode exit_of(int signal);
std::string signal_name(int signal);
// Of work that leaves nothing behind: throws if a signal asked this process to stop.
void stop_if_asked();

// The command line that goes on where a stopped run ended; without any checkpoint, that begins again.
std::string continue_command(const std::vector<std::string>& words, bool saved);
// The command line that continues a finished run to twice its steps.
std::string longer_command(const std::vector<std::string>& words, std::int64_t max_steps);

}  // namespace rlcpp::app
