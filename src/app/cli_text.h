// What the entry point prints about itself: overview, help, version, errors.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "app/command.h"

namespace rlcpp::app {

std::string overview(const std::vector<Command>& commands);   // `rlcpp` alone: one screen
std::string main_help(const std::vector<Command>& commands);  // `rlcpp --help`
std::string command_help(const Command& command);             // `rlcpp CMD --help`
std::string version_text(bool json);
std::string exit_code_table();

// The command probably meant, or "".
std::string nearest_command(const std::string& name, const std::vector<Command>& commands);

// The error as it goes to stderr: Error::render() line by line, control characters escaped, coloured or not;
// with
// --log json one line with the parts apart.
struct Report {
  int exit_code = 1;
  std::string text;
};
Report report_error(const std::exception& error, const LogOptions& log,
                    const std::vector<std::string>& command_line);

}  // namespace rlcpp::app
