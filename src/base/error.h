// One exception type for everything a user can see. It says what happened, why, and what to do; the process
// prints it once, without a stack, and leaves with the exit code it carries.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace rlcpp {

// The exit codes of every command; schedulers act on them, `rlcpp --help` prints them.
enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,         // failed while running
  kBadInput = 2,       // wrong configuration or input: retrying unchanged is useless
  kEnvironment = 3,    // no GPU, no memory, port taken, a file system that refuses
  kCheckFailed = 4,    // a check ran and did not pass
  kStopped = 75,       // stopped by its own limit with work left; resumable
  kInterrupted = 130,  // SIGINT, after saving
  kTerminated = 143,   // SIGTERM or SIGHUP, after saving
};

class Error : public std::runtime_error {
 public:
  // `what`: one sentence with the place (file:line, key, tensor). `because`: numbers. `help`: what to change.
  Error(ExitCode code, std::string what, std::string because = {}, std::string help = {});

  ExitCode code() const { return code_; }
  const std::string& because() const { return because_; }
  const std::string& help() const { return help_; }

  // The text for the terminal: "error: ...\n  because ...\n  help: ...\n"; absent parts are left out.
  std::string render() const;

 private:
  ExitCode code_;
  std::string because_;
  std::string help_;
};

Error bad_input(std::string what, std::string because = {}, std::string help = {});
Error environment_error(std::string what, std::string because = {}, std::string help = {});
Error runtime_failure(std::string what, std::string because = {}, std::string help = {});

// A broken invariant of ours, never the user's mistake: says so, with the place.
[[noreturn]] void internal_error(std::string_view condition, const char* file, int line);

// Checks that stay in release builds; the only macro of the code base besides those of CUDA error checks.
#define RLCPP_CHECK(condition)                                                 \
  do {                                                                         \
    if (!(condition)) ::rlcpp::internal_error(#condition, __FILE__, __LINE__); \
  } while (false)

}  // namespace rlcpp
