// A child process with a deadline: its output goes to a file, it never outlives its parent, and its last
// words are part of what the parent reports.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace rlcpp::bench {

struct ChildResult {
  int exit_code = 0;  // of a normal end
  int signal = 0;     // that ended it, or 0
  bool timed_out = false;
  bool stopped = false;    // because `keep_going` said so
  double asked_after = 0;  // seconds until SIGTERM was sent, if it was
  bool killed = false;     // it did not end then, and got SIGKILL
  double seconds = 0;
  std::string
      last_error;  // the "error: ..." line of its output, else its last line, control characters escaped
  // "exit code 3: ...", "killed by signal 9: ...", "timeout: told to end (SIGTERM) after 600 s": one line for
  // tables.
  std::string reason() const;
};

// Runs `command` (an absolute program first) with stdout and stderr in `log_path`. After `timeout` seconds
// without an end its whole process group gets SIGTERM, 3 s later SIGKILL. `keep_going` is asked four times a
// second. Throws environment_error if it cannot be started.
ChildResult run_child(const std::vector<std::string>& command, const std::string& log_path, double timeout,
                      const std::function<bool(double elapsed)>& keep_going);

// The path of this program, for starting it again.
std::string own_program();

}  // namespace rlcpp::bench
