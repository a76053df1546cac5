// The options that every command shares, taken out of the command line wherever they stand.
#pragma once

#include <string>
#include <vector>

#include "app/command.h"

namespace rlcpp::app {

// What the process knows about its surroundings; a value, so that tests can make one.
struct Surroundings {
  bool stdout_terminal = false;
  bool stderr_terminal = false;
  std::string no_color;     // NO_COLOR (https://no-color.org): not empty means no colour
  std::string force_color;  // FORCE_COLOR: not empty and not "0" means colour
  std::string term;         // TERM: "dumb" cannot show colour
};
Surroundings surroundings();

enum class ColourChoice : std::uint8_t { kAuto, kAlways, kNever };
// --color beats NO_COLOR, which beats FORCE_COLOR, which beats TERM and the question whether the stream is a
// terminal.
bool use_colour(ColourChoice choice, const Surroundings& around, bool terminal);

struct CommandLine {
  std::string command;  // empty: none was named
  bool help = false;
  bool version = false;
  Invocation invocation;
};

// Throws bad_input for a wrong value, and for an option before the command that is no option of all commands.
CommandLine parse_command_line(const std::vector<std::string>& arguments, const Surroundings& around);

// For --help: one line an option.
std::string global_options_text();

}  // namespace rlcpp::app
