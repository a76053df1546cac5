#include "base/error.h"

namespace rlcpp {

Error::Error(ExitCode code, std::string what, std::string because, std::string help)
    : std::runtime_error(std::move(what)),
      code_(code),
      because_(std::move(because)),
      help_(std::move(help)) {}

std::string Error::render() const {
  std::string text = "error: ";
  text += what();
  text += '\n';
  if (!because_.empty()) text += "  because " + because_ + '\n';
  if (!help_.empty()) text += "  help: " + help_ + '\n';
  return text;
}

Error bad_input(std::string what, std::string because, std::string help) {
  return {ExitCode::kBadInput, std::move(what), std::move(because), std::move(help)};
}

Error environment_error(std::string what, std::string because, std::string help) {
  return {ExitCode::kEnvironment, std::move(what), std::move(because), std::move(help)};
}

Error runtime_failure(std::string what, std::string because, std::string help) {
  return {ExitCode::kFailed, std::move(what), std::move(because), std::move(help)};
}

void internal_error(std::string_view condition, const char* file, int line) {
  throw Error(ExitCode::kFailed,
              "internal check failed: " + std::string(condition) + " at " + file + ":" + std::to_string(line),
              "an invariant of rlcpp does not hold",
              "this is a bug in rlcpp: please report it with the command line");
}

}  // namespace rlcpp
