#include "app/run_wandb.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/run_clock.h"
#include "base/durable.h"
#include "base/signals.h"
#include "wandb_relay_script.h"

extern char** environ;

namespace rlcpp::app {
namespace {

constexpr double kStartLimit = 60, kEndLimit = 120;  // seconds
const char* const kLater = "metrics.jsonl has everything, and tools/wandb_relay.py --once sends it later";

std::vector<std::string> arguments(const WandbSection& section, const std::string& run_dir,
                                   const std::string& producer, std::int64_t first_step) {
  std::vector<std::string> out = {section.python,    "-c",
                                  kWandbRelayScript, "--run-dir",
                                  run_dir,           "--producer",
                                  producer,          "--project=" + section.project,
                                  "--first-step",    std::to_string(first_step)};
  if (section.name.has_value()) out.push_back("--name=" + *section.name);
  if (section.id.has_value()) out.push_back("--id=" + *section.id);
  if (section.offline) out.emplace_back("--offline");
  if (section.log_extras.has_value()) {
    out.insert(out.end(), {"--interval", std::to_string(section.log_extras->interval)});
    if (section.log_extras->samples) out.emplace_back("--samples");
    if (section.log_extras->distributions) out.emplace_back("--distributions");
  }
  return out;
}

void close_end(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

// A relay that is gone is no error: the run goes on without. Sockets, and not a pipe, for MSG_NOSIGNAL.
void tell(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t put = send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put <= 0) return;
    done += static_cast<std::size_t>(put);
  }
}

}  // namespace

WandbRelay::WandbRelay(const WandbSection& section, const std::string& run_dir, const std::string& producer,
                       std::int64_t first_step, const std::string& configuration_json, Logger& log)
    : log_(log) {
  if (!start(section, run_dir, producer, first_step, configuration_json)) return;
  const std::string line = first_line();
  if (line.starts_with("ready ")) {
    log_.info("wandb: " + line.substr(6));
    return;
  }
  stop();
  const std::string why = line.starts_with("no ") ? line.substr(3)
                          : line.empty() ? fmt::format("its relay did not start ({}/logs/wandb.log)", run_dir)
                                         : "its relay says: " + line;
  log_.warn(
      fmt::format("nothing is sent to Weights & Biases: {} (Python is {}); {}", why, section.python, kLater));
}

WandbRelay::~WandbRelay() {
  finish(1);
}

bool WandbRelay::start(const WandbSection& section, const std::string& run_dir, const std::string& producer,
                       std::int64_t first_step, const std::string& configuration_json) {
  std::array<int, 2> in{}, out{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in.data()) != 0) return false;
  if (pipe2(out.data(), O_CLOEXEC) != 0) {
    close(in[0]);
    close(in[1]);
    return false;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  const std::string file = run_dir + "/logs/wandb.log";
  posix_spawn_file_actions_addopen(&actions, 2, file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  // A group of its own: Ctrl-C of the terminal is for the run, which ends the relay in its own time.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<std::string> words = arguments(section, run_dir, producer, first_step);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int error = posix_spawnp(&pid_, section.python.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(in[0]);
  close(out[1]);
  to_ = in[1];
  from_ = out[0];
  if (error != 0) {
    pid_ = 0;
    stop();
    log_.warn(
        fmt::format("nothing is sent to Weights & Biases: wandb.python = \"{}\" cannot be started ({}); {}",
                    section.python, std::strerror(error), kLater));
    return false;
  }
  // On one line; some KiB, less than a socket holds without a reader.
  tell(to_, nlohmann::ordered_json::parse(configuration_json).dump() + "\n");
  return true;
}

std::string WandbRelay::first_line() {
  std::string text;
  const double limit = monotonic_seconds() + kStartLimit;
  while (monotonic_seconds() < limit && stop_signal() == 0) {
    pollfd entry{from_, POLLIN, 0};
    if (poll(&entry, 1, 200) <= 0) continue;
    std::array<char, 1024> part{};
    const ssize_t got = read(from_, part.data(), part.size());
    if (got <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
    if (const std::size_t end = text.find('\n'); end != std::string::npos) return text.substr(0, end);
  }
  return text;
}

bool WandbRelay::ended(double seconds) {
  const double limit = monotonic_seconds() + seconds;
  do {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != 0) {
      pid_ = 0;
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  } while (monotonic_seconds() < limit);
  return false;
}

void WandbRelay::finish(int exit_code) {
  if (pid_ <= 0) return;
  tell(to_, fmt::format("finish {}\n", exit_code));
  close_end(to_);
  if (!ended(2)) {
    log_.info(fmt::format("wandb sends what is left, {} seconds at most", kEndLimit));
    if (!ended(kEndLimit)) log_.warn(fmt::format("wandb did not end and is stopped; {}", kLater));
  }
  stop();
}

void WandbRelay::stop() {
  close_end(to_);
  close_end(from_);
  if (pid_ > 0 && !ended(2)) {
    kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
  }
  pid_ = 0;
}

}  // namespace rlcpp::app
