// The entry point: finds the command, runs it, prints an error once, leaves with the exit code of
// base/error.h.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <system_error>
#include <thread>

#include "app/cli_options.h"
#include "app/cli_text.h"
#include "app/command.h"
#include "app/run_processes.h"
#include "base/error.h"
#include "base/wait.h"
#include "dist/launch.h"

namespace rlcpp::app {
namespace {

const Command& find_command(const std::string& name, const std::vector<Command>& commands) {
  for (const Command& command : commands) {
    if (command.name == name) return command;
  }
  const std::string near = nearest_command(name, commands);
  throw bad_input(
      "there is no command \"" + printable(name) + "\"", {},
      near.empty() ? "rlcpp --help lists the commands" : "the command probably meant is rlcpp " + near);
}

// "bench" with the argument "kernels" is the command "bench kernels".
void take_second_word(CommandLine& line, std::string& name, const std::vector<Command>& commands) {
  std::vector<std::string>& words = line.invocation.arguments;
  const std::size_t at = line.command == "help" ? 1 : 0;
  if (words.size() <= at) return;
  const std::string both = name + " " + words[at];
  if (std::ranges::find(commands, both, &Command::name) == commands.end()) return;
  name = both;
  words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

int dispatch(CommandLine& line) {
  const std::vector<Command> commands = all_commands();
  std::string name = line.command;
  if (name == "help") {
    line.help = true;
    name = line.invocation.arguments.empty() ? "" : line.invocation.arguments.front();
  }
  if (line.version) {
    print(version_text(line.invocation.json));
    return 0;
  }
  if (name.empty()) {
    print(line.help ? main_help(commands) : overview(commands));
    return 0;
  }
  take_second_word(line, name, commands);
  const Command& command = find_command(name, commands);
  if (line.help) {
    print(command_help(command));
    return 0;
  }
  const Watchdog watchdog;  // names who is awaited, and ends a wait that nobody else ends
  return command.run(line.invocation);
}

bool reader_left() {
  pollfd state{STDOUT_FILENO, POLLOUT, 0};
  return poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
}

// Results that did not reach stdout are a failure, unless the reader has simply seen enough (`| head`).
void finish_stdout() {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed || errno == EPIPE || reader_left()) return;
  throw environment_error("the result could not be written to stdout",
                          std::strerror(errno != 0 ? errno : EIO),
                          "look at the disk or the file that stdout goes to");
}

// A reader that goes away, and a file that grows beyond `ulimit -f`, make a write fail, not the process die
// without a word. A handler rather than SIG_IGN, because programs we start would inherit the latter.
void survive_failing_writes() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
}

// What is wrong with a command line is so for all processes that a launcher started with it, and the first
// says it; but it may be so for one alone, whose machine lacks a file. Such a process says it with its
// number, under mpirun when that would have ended it if the first had failed too.
std::optional<Error> of_one_process(const std::exception& error) {
  constexpr std::chrono::seconds kMpirunEndsAll{5};
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours == nullptr || ours->code() != ExitCode::kBadInput) return std::nullopt;
  if (dynamic_cast<const NotMet*>(ours) != nullptr) return std::nullopt;
  try {
    const dist::Launch launch = dist::find_launch({});
    if (launch.process == 0) return std::nullopt;
    if (launch.source.starts_with("Open MPI")) std::this_thread::sleep_for(kMpirunEndsAll);
    return Error(ours->code(), fmt::format("process {}: {}", launch.process, ours->what()), ours->because(),
                 ours->help());
  } catch (const Error&) {
    return std::nullopt;
  }
}

int run_process(const std::vector<std::string>& words) {
  const Surroundings around = surroundings();
  CommandLine line;
  line.invocation.log.colour = use_colour(ColourChoice::kAuto, around, around.stderr_terminal);
  try {
    line = parse_command_line({words.begin() + 1, words.end()}, around);
    line.invocation.command_line = words;
    const int code = dispatch(line);
    finish_stdout();
    return code;
  } catch (const std::exception& error) {
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (system != nullptr && system->code() == std::errc::broken_pipe && reader_left()) return 0;
    const std::optional<Error> of_one = of_one_process(error);
    const Report report = report_error(
        of_one.has_value() ? static_cast<const std::exception&>(*of_one) : error, line.invocation.log, words);
    std::fflush(stdout);
    std::fwrite(report.text.data(), 1, report.text.size(), stderr);
    return report.exit_code;
  }
}

}  // namespace
}  // namespace rlcpp::app

int main(int argc, char** argv) {
  rlcpp::app::survive_failing_writes();
  std::vector<std::string> words(argv, argv + argc);
  if (words.empty()) words.emplace_back("rlcpp");
  return rlcpp::app::run_process(words);
}
