#include "bench/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace rlcpp::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kGraceSeconds = 3;

std::string last_words(const std::string& log_path) {
  std::ifstream log(log_path);
  std::string last;
  std::string error;
  for (std::string line; std::getline(log, line);) {
    if (line.starts_with("error: ")) error = line.substr(7);
    if (!error.empty() && line.starts_with("  because ")) error += ":" + line.substr(9);
    if (line.find_first_not_of(" \t") != std::string::npos) last = line;
  }
  return printable(error.empty() ? last : error);
}

// In the child, between fork and exec: nothing here may allocate.
[[noreturn]] void become(char* const* arguments, int log, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(arguments[0], arguments);
  _exit(127);
}

}  // namespace

std::string ChildResult::reason() const {
  if (timed_out) {
    return fmt::format("timeout: told to end (SIGTERM) after {:.0f} s{}", asked_after,
                       killed ? fmt::format(", killed (SIGKILL) {:.0f} s later", seconds - asked_after) : "");
  }
  if (stopped) return "stopped by the user";
  if (signal != 0) return fmt::format("killed by signal {} ({}): {}", signal, strsignal(signal), last_error);
  if (exit_code != 0) return fmt::format("exit code {}: {}", exit_code, last_error);
  return "";
}

ChildResult run_child(const std::vector<std::string>& command, const std::string& log_path, double timeout,
                      const std::function<bool(double elapsed)>& keep_going) {
  const int log = open(log_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
  if (log < 0)
    throw environment_error("cannot write " + log_path, std::strerror(errno), "choose another directory");
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);

  const auto begin = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(arguments.data(), log, parent);
  close(log);
  if (child < 0) throw environment_error("cannot start " + command.front(), std::strerror(errno), "");

  ChildResult result;
  double asked_to_stop = 0;
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR)
      throw environment_error("lost the process of " + command.front(), std::strerror(errno), "");
    const double now = elapsed();
    if (asked_to_stop == 0) {
      result.timed_out = now > timeout;
      result.stopped = !result.timed_out && !keep_going(now);
      if (result.timed_out || result.stopped) {
        kill(-child, SIGTERM);
        asked_to_stop = now;
        result.asked_after = now;
      }
    } else if (now - asked_to_stop > kGraceSeconds) {
      kill(-child, SIGKILL);
      result.killed = true;
    }
    // Short at first, so that a row that fails at once does not cost a quarter of a second.
    std::this_thread::sleep_for(std::chrono::milliseconds(now < 1 ? 10 : 250));
  }
  kill(-child, SIGKILL);  // what it may have left behind
  result.seconds = elapsed();
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  if (!result.reason().empty()) result.last_error = last_words(log_path);
  return result;
}

std::string own_program() {
  std::string path(4096, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0)
    throw environment_error("cannot find the path of this program", std::strerror(errno), "mount /proc");
  path.resize(static_cast<std::size_t>(length));
  return path;
}

}  // namespace rlcpp::bench
