// A subcommand: argument -> call -> exit code. One file a command; main.cpp only dispatches and prints errors.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/log.h"

namespace rlcpp::app {

// What main() hands over: arguments after the command's name (global options already taken out), and how to print.
struct Invocation {
  std::vector<std::string> arguments;
  std::vector<std::string> command_line;  // whole, for records
  LogOptions log;                         // from --log, --quiet, -v, --color
  bool json = false;                      // --json: the result on stdout as JSON
  bool dry_run = false;                   // --dry-run
};

struct Command {
  std::string name;
  std::string summary;                       // one line for `rlcpp --help`
  std::string usage;                         // "rlcpp sft @ FILE.toml [--key value ...]"
  std::vector<std::string> examples;         // two, shown first in `CMD --help`
  std::function<std::string()> options;      // complete list with defaults and units
  std::function<std::string()> markdown;     // the same for docs/configuration.md; may be empty
  std::function<int(const Invocation&)> run; // returns the exit code; throws Error
};

// Each defined in src/app/<name>.cpp and listed in main.cpp.
Command sft_command();
Command rl_command();
Command trainer_command();
Command tokenize_command();
Command bench_command();
Command report_command();
Command config_command();    // prints keys, docs/configuration.md, resolved files

}  // namespace rlcpp::app
