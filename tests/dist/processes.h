// Ranks as processes: starts dist_rank (rank_main.cc) or mpirun, and reads what came of it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/durable.h"
#include "support.h"

namespace rlcpp::dist {

// The program of a rank: where it was built, or beside the test program that runs, on a machine that builds
// nothing.
inline std::string rank_program() {
  if (std::filesystem::exists(RLCPP_RANK)) return RLCPP_RANK;
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "dist_rank").string();
}

class Process {
 public:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  // Output and errors go to `log`. The process ends with the test.
  Process(const std::vector<std::string>& command, const Variables& variables, std::string log)
      : log_(std::move(log)), begun_(std::chrono::steady_clock::now()) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const int fd = ::open(log_.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    pid_ = ::fork();
    if (pid_ != 0) {
      ::close(fd);
      return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    ::dup2(fd, 1);
    ::dup2(fd, 2);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ~Process() {
    if (pid_ > 0 && !ended_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The exit code; 128 + the signal; -1 if it still runs after `limit`.
  int wait(std::chrono::seconds limit = std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) != pid_) {
      if (std::chrono::steady_clock::now() > end) return -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ended_ = true;
    seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void signal(int number) const { ::kill(pid_, number); }
  double seconds() const { return seconds_; }
  pid_t pid() const { return pid_; }
  std::string text() const { return durable::read_file(log_); }

 private:
  std::string log_;
  std::chrono::steady_clock::time_point begun_;
  pid_t pid_ = -1;
  bool ended_ = false;
  double seconds_ = 0;
};

// `count` processes as torchrun would start them, which meet in a file of `folder`.
inline std::vector<std::unique_ptr<Process>> start_ranks(int count, const test::TemporaryDirectory& folder,
                                                         const std::vector<std::string>& arguments,
                                                         const std::string& address) {
  std::vector<std::unique_ptr<Process>> all;
  for (int rank = 0; rank < count; ++rank) {
    std::vector<std::string> command = {rank_program()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    command.insert(command.end(), {"--address", address});
    const Process::Variables variables = {{"RANK", std::to_string(rank)},
                                          {"LOCAL_RANK", std::to_string(rank)},
                                          {"WORLD_SIZE", std::to_string(count)}};
    all.push_back(std::make_unique<Process>(command, variables, folder / ("rank" + std::to_string(rank))));
  }
  return all;
}

}  // namespace rlcpp::dist
