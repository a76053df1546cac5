// rlcpp completion: scripts for bash, zsh and fish, generated from the commands and their keys, so that they
// know every dotted key and the choices of those that have some.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "app/command.h"
#include "base/error.h"

namespace rlcpp::app {
namespace {

struct Word {
  std::string flag;     // "--optim.lr"
  std::string choices;  // "constant linear cosine", or ""
};

constexpr std::string_view kGlobals = "--help --version --log --quiet --color --json --dry-run";

// Choices are listed in KeyInfo::allowed as "one of: a, b".
std::string choices_of(const std::string& allowed) {
  constexpr std::string_view kMark = "one of: ";
  const std::size_t at = allowed.find(kMark);
  if (at == std::string::npos) return "";
  std::string text = allowed.substr(at + kMark.size());
  std::erase(text, ',');
  std::erase_if(text, [](char c) { return c == '"' || c == ';'; });
  return text;
}

// "bench kernels": the second word of "bench", with keys of its own.
bool has_two_words(const Command& command) {
  return command.name.find(' ') != std::string::npos;
}

std::vector<Word> words_of(const Command& command) {
  std::vector<Word> words;
  if (!command.keys) return words;
  for (const config::KeyInfo& info : command.keys()) {
    std::string flag = info.key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    words.push_back({"--" + flag, choices_of(info.allowed)});
  }
  return words;
}

std::string bash_script(const std::vector<Command>& commands) {
  std::string names, cases, values;
  std::map<std::string, std::string> choices;
  for (const Command& command : commands) {
    if (!has_two_words(command)) names += (names.empty() ? "" : " ") + command.name;
    std::string flags;
    for (const Word& word : words_of(command)) {
      flags += " " + word.flag;
      if (!word.choices.empty()) choices[word.flag] = word.choices;
    }
    // The longer name is asked for first.
    const bool two = has_two_words(command);
    const std::string line = fmt::format("    \"{} \"*) words=\"{}{}\" ;;\n", command.name, kGlobals, flags);
    cases.insert(two ? 0 : cases.size(), line);
  }
  for (const auto& [flag, list] : choices) values += fmt::format("    {}) values=\"{}\" ;;\n", flag, list);
  // Files complete by default; `@` is followed by one.
  return fmt::format(R"(# bash completion of rlcpp: source <(rlcpp completion bash)
_rlcpp() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words="" values=""
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "{} {}" -- "$current"))
    return
  fi
  case "$previous" in
    --log) values="text json" ;;
    --color) values="auto always never" ;;
{}  esac
  if [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[*]:1}} " in
{}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) COMPREPLY=() ;;
  esac
}}
complete -o default -F _rlcpp rlcpp
)",
                     names, kGlobals, values, cases);
}

// zsh runs bash's function through its own bridge.
std::string zsh_script(const std::vector<Command>& commands) {
  return "#compdef rlcpp\n# zsh completion of rlcpp: source <(rlcpp completion zsh)\nautoload -U +X compinit "
         "&& compinit -u\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         bash_script(commands);
}

std::string fish_script(const std::vector<Command>& commands) {
  std::string text = "# fish completion of rlcpp: rlcpp completion fish | source\n";
  const auto quoted = [](std::string value) {
    for (std::size_t at = 0; (at = value.find('\'', at)) != std::string::npos; at += 2)
      value.insert(at, "\\");
    return "'" + value + "'";
  };
  for (const Command& command : commands) {
    if (has_two_words(command)) continue;
    text += fmt::format("complete -c rlcpp -n __fish_use_subcommand -f -a {} -d {}\n", command.name,
                        quoted(command.summary));
  }
  for (const Command& command : commands) {
    for (const Word& word : words_of(command)) {
      text += fmt::format("complete -c rlcpp -n '__fish_seen_subcommand_from {}' -l {}",
                          command.name.substr(command.name.rfind(' ') + 1), word.flag.substr(2));
      if (!word.choices.empty()) text += " -x -a " + quoted(word.choices);
      text += "\n";
    }
  }
  return text;
}

int run(const Invocation& invocation) {
  const std::vector<Command> commands = all_commands();
  const std::string shell = invocation.arguments.size() == 1 ? invocation.arguments.front() : "";
  std::string text;
  if (shell == "bash") {
    text = bash_script(commands);
  } else if (shell == "zsh") {
    text = zsh_script(commands);
  } else if (shell == "fish") {
    text = fish_script(commands);
  } else {
    throw bad_input("rlcpp completion needs the name of a shell", {},
                    "write rlcpp completion bash, zsh or fish, and let the shell read what it prints");
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

}  // namespace

Command completion_command() {
  Command command;
  command.name = "completion";
  command.summary = "Print what makes a shell complete commands, keys and their choices.";
  command.usage = "rlcpp completion bash|zsh|fish";
  command.examples = {"source <(rlcpp completion bash)", "rlcpp completion fish | source"};
  command.options = [] { return std::string("  bash|zsh|fish  The shell.\n"); };
  command.run = run;
  return command;
}

}  // namespace rlcpp::app
