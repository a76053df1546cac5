#include "app/cli_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.h"

namespace rlcpp::app {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// Reads the shared options; what it does not know stays in `rest`.
class Reader {
 public:
  explicit Reader(const std::vector<std::string>& arguments) : arguments_(arguments) {}

  CommandLine read() {
    while (next_ < arguments_.size()) {
      const std::string& token = arguments_[next_++];
      if (!shared(token)) rest_.push_back(token);
    }
    return std::move(line_);
  }

  ColourChoice colour() const { return colour_; }
  std::vector<std::string>& rest() { return rest_; }

 private:
  bool shared(const std::string& token) {
    LogOptions& log = line_.invocation.log;
    if (token == "-h" || token == "--help") {
      line_.help = true;
    } else if (token == "-V" || token == "--version") {
      line_.version = true;
    } else if (token == "-q" || token == "--quiet") {
      log.level = LogLevel::kWarn;
    } else if (token == "-v" || token == "--verbose") {
      log.level = log.level == LogLevel::kDebug ? LogLevel::kTrace : LogLevel::kDebug;
    } else if (token == "-vv") {
      log.level = LogLevel::kTrace;
    } else if (token == "--json") {
      line_.invocation.json = true;
    } else if (token == "--dry-run" || token == "--dry_run") {
      line_.invocation.dry_run = true;
    } else if (const auto format = value_of(token, "--log", {"text", "json"})) {
      log.format = *format == "json" ? LogFormat::kJson : LogFormat::kText;
    } else if (const auto choice = value_of(token, "--color", {"auto", "always", "never"})) {
      set_colour(*choice);
    } else if (const auto spelt = value_of(token, "--colour", {"auto", "always", "never"})) {
      set_colour(*spelt);
    } else {
      return false;
    }
    return true;
  }

  void set_colour(const std::string& choice) {
    colour_ = choice == "always"  ? ColourChoice::kAlways
              : choice == "never" ? ColourChoice::kNever
                                  : ColourChoice::kAuto;
  }

  // The value of `--name VALUE` or `--name=VALUE`; nothing if `token` is another option.
  std::optional<std::string> value_of(const std::string& token, const std::string& name,
                                      const std::vector<std::string>& choices) {
    std::string value;
    if (token == name) {
      if (next_ < arguments_.size()) value = arguments_[next_++];
    } else if (token.starts_with(name + "=")) {
      value = token.substr(name.size() + 1);
    } else {
      return {};
    }
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      throw bad_input(fmt::format("{} must be one of: {}", name, fmt::join(choices, ", ")),
                      value.empty() ? "it has no value" : "it is \"" + printable(value) + "\"",
                      fmt::format("write {} {}", name, choices.front()));
    }
    return value;
  }

  const std::vector<std::string>& arguments_;
  std::size_t next_ = 0;
  std::vector<std::string> rest_;
  CommandLine line_;
  ColourChoice colour_ = ColourChoice::kAuto;
};

}  // namespace

Surroundings surroundings() {
  Surroundings around;
  // Open MPI gives its processes a terminal of its own for stdout, also where what they say ends in a file.
  const bool by_mpirun = !variable("OMPI_COMM_WORLD_RANK").empty();
  around.stdout_terminal = isatty(STDOUT_FILENO) == 1 && !by_mpirun;
  around.stderr_terminal = isatty(STDERR_FILENO) == 1;
  around.no_color = variable("NO_COLOR");
  around.force_color = variable("FORCE_COLOR");
  around.term = variable("TERM");
  return around;
}

bool use_colour(ColourChoice choice, const Surroundings& around, bool terminal) {
  if (choice != ColourChoice::kAuto) return choice == ColourChoice::kAlways;
  if (!around.no_color.empty()) return false;
  if (!around.force_color.empty() && around.force_color != "0") return true;
  return terminal && around.term != "dumb";
}

CommandLine parse_command_line(const std::vector<std::string>& arguments, const Surroundings& around) {
  Reader reader(arguments);
  CommandLine line = reader.read();
  std::vector<std::string>& rest = reader.rest();
  if (!rest.empty()) {
    const std::string& first = rest.front();
    if (first.starts_with("@") || first.ends_with(".toml")) {
      throw bad_input("a command is missing before " + printable(first),
                      "a configuration file does not say what to do with it",
                      "name the command first, as in rlcpp sft @ FILE.toml");
    }
    if (first.starts_with("-")) {
      const std::string near = config::nearest(
          first.substr(first.find_first_not_of('-') == std::string::npos ? 0 : first.find_first_not_of('-')),
          {"help", "version", "quiet", "verbose", "json", "dry_run", "log", "color"});
      throw bad_input(
          "unknown option " + printable(first), "only options of all commands may stand before the command",
          near.empty() ? "rlcpp --help lists them"
                       : "the option probably meant is --" + (near == "dry_run" ? "dry-run" : near));
    }
    line.command = first;
    line.invocation.arguments.assign(rest.begin() + 1, rest.end());
  }
  line.invocation.log.colour = use_colour(reader.colour(), around, around.stderr_terminal);
  line.invocation.colour_stdout = use_colour(reader.colour(), around, around.stdout_terminal);
  return line;
}

std::string global_options_text() {
  return "  --log text|json            Form of the log on stderr. [Default text]\n"
         "  --quiet, -q                Only warnings and errors.\n"
         "  -v, -vv                    More detail; still more.\n"
         "  --color auto|always|never  Colour; auto looks at the terminal, NO_COLOR, FORCE_COLOR and TERM. "
         "[Default auto]\n"
         "  --json                     The result on stdout as JSON.\n"
         "  --dry-run                  Resolve and check everything, print the plan, do nothing.\n"
         "  --help, -h                 Help, for rlcpp or for a command.\n"
         "  --version, -V              Version, commit, back ends and libraries.\n";
}

}  // namespace rlcpp::app
