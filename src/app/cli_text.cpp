#include "app/cli_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <sstream>
#include <string_view>
#include <utility>

#include "app/cli_options.h"
#include "app/version.h"
#include "base/error.h"

namespace rlcpp::app {
namespace {

std::string command_list(const std::vector<Command>& commands) {
  std::size_t width = 0;
  for (const Command& command : commands) width = std::max(width, command.name.size());
  std::string text;
  for (const Command& command : commands)
    text += fmt::format("  {:<{}}  {}\n", command.name, width, command.summary);
  return text;
}

std::string first_example(const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    if (!command.examples.empty()) return command.examples.front();
  }
  return "rlcpp --help";
}

constexpr const char* kWhatItIs =
    "rlcpp trains language models after pre-training: supervised fine-tuning and reinforcement learning.\n"
    "One binary; configuration in TOML files and flags.";

constexpr std::pair<int, const char*> kExitCodes[] = {
    {0, "done"},
    {1, "failed while running"},
    {2, "wrong configuration or input: retrying unchanged is useless"},
    {3, "the environment: no GPU, no memory, port taken, a file system that refuses"},
    {4, "a check ran and did not pass"},
    {75, "stopped by its own limit with work left: the same command goes on"},
    {130, "stopped by SIGINT, after saving"},
    {143, "stopped by SIGTERM or SIGHUP, after saving"},
};

std::string shell_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n\"'\\$&;|<>()*?[]{}#~`!") == std::string::npos;
    std::string quoted = word;
    for (std::size_t i = 0; (i = quoted.find('\'', i)) != std::string::npos; i += 4)
      quoted.replace(i, 1, "'\\''");
    line += (line.empty() ? "" : " ") + (plain ? word : "'" + quoted + "'");
  }
  return line;
}

std::string coloured(const std::string& line) {
  const auto paint = [&](const std::string& word, const char* colour) {
    const std::size_t at = line.find(word);
    return line.substr(0, at) + colour + word + "\x1b[0m" + line.substr(at + word.size());
  };
  if (line.starts_with("error:")) return paint("error:", "\x1b[1;31m");
  if (line.starts_with("  help:")) return paint("help:", "\x1b[36m");
  if (line.starts_with("  because ")) return paint("because", "\x1b[2m");
  return line;
}

}  // namespace

std::string exit_code_table() {
  std::string text;
  for (const auto& [code, meaning] : kExitCodes) text += fmt::format("  {:>3}  {}\n", code, meaning);
  return text;
}

std::string overview(const std::vector<Command>& commands) {
  // The five that do the work; --help lists the others too.
  std::vector<Command> shown;
  for (const std::string_view name : {"sft", "rl", "tokenize", "bench", "report"}) {
    for (const Command& command : commands) {
      if (command.name == name) shown.push_back(command);
    }
  }
  return std::string(kWhatItIs) + "\n\n" + command_list(shown) + "\nFor example:\n  " + first_example(shown) +
         "\n\nrlcpp --help lists all commands; rlcpp COMMAND --help the options of one.\n";
}

std::string main_help(const std::vector<Command>& commands) {
  return std::string(kWhatItIs) +
         "\n\nUsage\n  rlcpp COMMAND [@ FILE.toml ...] [--key VALUE ...]\n\nFor example\n  " +
         first_example(commands) + "\n\nCommands\n" + command_list(commands) +
         "\nOptions of all commands, before or after the command\n" + global_options_text() +
         "\nConfiguration\n"
         "  @ FILE.toml            read a file; several may follow, later ones win; toml_files = [...] in a "
         "file inherits\n"
         "  --key @ FILE.toml      put a file under a key\n"
         "  --a.b VALUE            set a key; dashes and underscores are the same; lists are 1,2 or [1,2]\n"
         "  --switch, --no-switch  true and false; a bare optional section such as --ckpt is switched on, "
         "--no-ckpt off\n"
         "  None                   no value, where a key allows it\n"
         "\nExit codes\n" +
         exit_code_table();
}

std::string command_help(const Command& command) {
  std::string text = fmt::format("rlcpp {}: {}\n\nExamples\n", command.name, command.summary);
  for (const std::string& example : command.examples) text += "  " + example + '\n';
  text += "\nUsage\n  " + command.usage + '\n';
  const std::string options = command.options ? command.options() : "";
  if (!options.empty()) text += "\nOptions\n" + options + (options.ends_with('\n') ? "" : "\n");
  return text + "\nOptions of all commands\n" + global_options_text() + "\nExit codes\n" + exit_code_table();
}

std::string nearest_command(const std::string& name, const std::vector<Command>& commands) {
  // What other tools call the same thing.
  static const std::pair<const char*, const char*> kOthers[] = {
      {"train", "sft"},   {"finetune", "sft"},    {"fine-tune", "sft"},   {"grpo", "rl"},
      {"ppo", "rl"},      {"reinforce", "rl"},    {"benchmark", "bench"}, {"tokenizer", "tokenize"},
      {"page", "report"}, {"settings", "config"},
  };
  std::vector<std::string> names;
  names.reserve(commands.size());
  for (const Command& command : commands) names.push_back(command.name);
  for (const auto& [other, ours] : kOthers) {
    if (name == other && std::find(names.begin(), names.end(), ours) != names.end()) return ours;
  }
  return config::nearest(name, names);
}

Report report_error(const std::exception& error, const LogOptions& log,
                    const std::vector<std::string>& command_line) {
  Report report;
  std::string what;
  std::string because;
  std::string help;
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    report.exit_code = static_cast<int>(known->code());
    what = known->what();
    because = known->because();
    help = known->help();
  } else if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    report.exit_code = static_cast<int>(ExitCode::kEnvironment);
    what = "out of memory";
    because = "the system gave no more of it to this process";
    help = "use smaller batches or sequences, or a machine with more memory";
  } else {
    what = std::string("rlcpp failed unexpectedly: ") + error.what();
    because = fmt::format("nothing in rlcpp {} ({}) handles this; the command was: {}", version(),
                          commit_text(), shell_line(command_line));
    help = "please report this with the lines above";
  }
  if (log.format == LogFormat::kJson) {
    report.text = fmt::format(
        "{{\"time\": \"{}\", \"level\": \"error\", \"message\": {}, \"because\": {}, \"help\": {}, "
        "\"exit_code\": {}}}\n",
        utc_timestamp(), json_string(what), json_string(because), json_string(help), report.exit_code);
    return report;
  }
  std::istringstream lines(Error(ExitCode::kFailed, what, because, help).render());
  for (std::string line; std::getline(lines, line);) {
    const std::string safe = printable(line);
    report.text += (log.colour ? coloured(safe) : safe) + '\n';
  }
  return report;
}

}  // namespace rlcpp::app
