// A subcommand: argument -> call -> exit code. One file a command; main.cpp only dispatches and prints
// errors.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/config/load.h"
#include "base/log.h"

namespace rlcpp::app {

// What main() hands over: arguments after the command's name (global options already taken out), and how to
// print.
struct Invocation {
  std::vector<std::string> arguments;
  std::vector<std::string> command_line;  // whole, for records
  LogOptions log;                         // from --log, --quiet, -v, --color; `colour` is for stderr
  bool colour_stdout = false;             // the same decision for stdout
  bool json = false;                      // --json: the result on stdout as JSON
  bool dry_run = false;                   // --dry-run
};

struct Command {
  std::string name;                                    // a word, or two: "bench kernels" is one of bench
  std::string summary;                                 // one line for `rlcpp --help`
  std::string usage;                                   // "rlcpp sft @ FILE.toml [--key value ...]"
  std::vector<std::string> examples;                   // two, shown first in `CMD --help`
  std::function<std::string()> options;                // complete list with defaults and units
  std::function<std::string()> markdown;               // the same for docs/configuration.md; may be empty
  std::function<std::vector<config::KeyInfo>()> keys;  // for `rlcpp config keys`; may be empty
  // What files and flags resolve to, as TOML; throws as load() does. May be empty.
  std::function<std::string(const std::vector<std::string>&)> resolve;
  std::function<int(const Invocation&)> run;  // returns the exit code; throws Error
};

// Fills options, markdown and keys from the configuration S of a command, with S's defaults.
template <class S>
void describe_options(Command& command) {
  command.options = [] {
    S defaults;
    return config::help_text(config::describer(defaults));
  };
  command.markdown = [] {
    S defaults;
    return config::markdown(config::describer(defaults));
  };
  command.keys = [] {
    S defaults;
    return config::keys(config::describer(defaults));
  };
  command.resolve = [](const std::vector<std::string>& arguments) {
    S configuration;
    const config::Loaded loaded = config::load(config::describer(configuration), arguments);
    return config::to_toml(config::describer(configuration), &loaded.origins);
  };
}

// Each defined in a file of its own in src/app/ and listed in registry.cpp.
Command sft_command();
Command rl_command();
Command trainer_command();
Command orchestrator_command();
Command tokenize_command();
Command convert_command();
Command chat_command();
Command logprobs_command();
Command bench_command();
Command bench_kernels_command();
Command bench_rollout_command();
Command bench_rl_command();
Command bench_publication_command();
Command bench_checkpoint_command();
Command report_command();
Command curves_command();
Command doctor_command();
Command config_command();      // prints keys, docs/configuration.md, JSON Schema
Command completion_command();  // scripts for shells

// All commands of this binary, in the order of `rlcpp --help`.
std::vector<Command> all_commands();

}  // namespace rlcpp::app
