#include "app/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "base/rng.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

// What runs write; --clean removes these and nothing else.
constexpr const char* kEntries[] = {"checkpoints", "weights",  "metrics.jsonl", "tensorboard", "logs",
                                    "nonfinite",   "rollouts", "evals",         "configs",     "run_default",
                                    "broadcasts",  "loss.svg", "reward.svg",    "curves.svg"};

bool has_content(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return false;
  return !fs::is_directory(path, ignored) || !fs::is_empty(path, ignored);
}

std::string make_run_id() {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return fmt::format("{:08x}", static_cast<std::uint32_t>(mix64(static_cast<std::uint64_t>(now),
                                                                static_cast<std::uint64_t>(getpid()))));
}

// Two processes in one directory would write into each other's files.
std::shared_ptr<void> lock_directory(const std::string& path) {
  const int fd = open((path + "/.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (fd < 0) {
    throw environment_error(fmt::format("cannot write in output_dir = \"{}\"", path), std::strerror(errno),
                            "choose another --output-dir, or give yourself the right to write there");
  }
  std::shared_ptr<void> lock(nullptr, [fd](void*) { close(fd); });
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    throw environment_error(fmt::format("another process works in output_dir = \"{}\"", path), {},
                            "wait for its end, or choose another --output-dir");
  }
  return lock;
}

}  // namespace

bool RunDirectory::used(const std::string& path) {
  for (const char* entry : kEntries) {
    if (std::string(entry) != "configs" && has_content(fs::path(path) / entry)) return true;
  }
  return false;
}

void RunDirectory::check(const std::string& path, OpenRun how) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) {
    throw bad_input(fmt::format("output_dir = \"{}\" is a file", path), {}, "choose another output_dir");
  }
  if (how == OpenRun::kFresh && used(path)) {
    throw bad_input(fmt::format("output_dir = \"{}\" was used by another run", path),
                    "it holds its metrics or checkpoints, which a new run would mix with its own",
                    "choose another --output-dir, continue with --ckpt.resume-step -1, or remove the old run "
                    "with --clean");
  }
}

RunDirectory::RunDirectory(std::string path, OpenRun how, Logger& log)
    : path_(std::move(path)), run_id_(make_run_id()) {
  durable::FileLayer& files = durable::system_files();
  std::error_code ignored;
  check(path_, how);
  durable::make_directories(files, path_);
  lock_ = lock_directory(path_);
  if (how == OpenRun::kClean) {
    int removed = 0;
    for (const char* entry : kEntries) {
      const std::string target = path_ + "/" + entry;
      if (!fs::exists(target, ignored)) continue;
      if (fs::is_directory(target, ignored)) {
        durable::remove_tree(files, target);
      } else {
        files.remove(target);
      }
      ++removed;
    }
    if (removed > 0) log.info(fmt::format("--clean removed what an earlier run left in {}", path_));
  }
  for (const char* entry : {"", "/checkpoints", "/weights", "/configs", "/rollouts", "/nonfinite"}) {
    if (fs::exists(path_ + entry, ignored)) durable::remove_leftovers(files, path_ + entry);
  }
  for (const char* entry : {"configs", "logs"}) durable::make_directories(files, path_ + "/" + entry);
}

void RunDirectory::write(const std::string& name, const std::string& content) const {
  durable::write_file(durable::system_files(), path_ + "/" + name, content);
}

int RunDirectory::set_aside_after(std::int64_t step) const {
  durable::FileLayer& files = durable::system_files();
  int moved = 0;
  for (const std::string& root : {checkpoints(), weights()}) {
    std::error_code ignored;
    if (!fs::is_directory(root, ignored)) continue;
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root)) names.push_back(entry.path().filename().string());
    for (const std::string& name : names) {
      std::int64_t number = 0;
      const char* end = name.data() + name.size();
      if (!name.starts_with("step_")) continue;
      const auto parsed = std::from_chars(name.data() + 5, end, number);
      if (parsed.ec != std::errc() || parsed.ptr != end || number <= step) continue;
      files.rename(fmt::format("{}/{}", root, name), fmt::format("{}/before-{}.{}", root, run_id_, name));
      ++moved;
    }
    if (moved > 0) files.sync_directory(root);
  }
  return moved;
}

}  // namespace rlcpp::app
