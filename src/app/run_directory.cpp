#include "app/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <regex>
#include <string_view>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "base/readable.h"
#include "base/rng.h"
#include "monitor/tensorboard.h"

namespace rlcpp::app {
namespace {

namespace fs = std::filesystem;

// The names that runs write under, beside configs.
constexpr const char* kEntries[] = {"checkpoints", "weights",    "metrics.jsonl", "tensorboard",
                                    "logs",        "nonfinite",  "rollouts",      "broadcasts",
                                    "loss.svg",    "curves.svg", "wandb"};

// What runs write, as patterns of the whole path below output_dir; --clean removes these and nothing else.
// What durable.h leaves of a killed or broken write has the name of what was written and a suffix.
bool written_by_runs(const std::string& entry) {
  static const std::regex pattern(
      "((checkpoints|weights)/((before-[0-9a-f]+\\.)?step_[0-9]+|latest)|nonfinite/"
      "nonfinite_step_[0-9]+\\.json|"
      "rollouts/(val_)?step_[0-9]+\\.jsonl|(rollouts|broadcasts)/(before-[0-9a-f]+\\.)?step_[0-9]+|"
      "logs/(trainer|rl|orchestrator|wandb)\\.log|wandb/"
      "(id|settings|latest-run|debug.*\\.log|(offline-)?run-.*)|"
      "tensorboard/events\\.out\\.tfevents\\..*|"
      "metrics\\.jsonl|loss\\.svg|curves\\.svg)(\\.(bad|tmp|trash)-.*)?");
  return std::regex_match(entry, pattern);
}

bool has_content(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return false;
  return !fs::is_directory(path, ignored) || !fs::is_empty(path, ignored);
}

bool holds_anything(const std::string& path) {
  return std::any_of(std::begin(kEntries), std::end(kEntries),
                     [&](const char* entry) { return has_content(fs::path(path) / entry); });
}

// Whether a new run would mix `entry` with its own. A start that failed leaves its log, an empty
// metrics.jsonl and an event file without a value, which the next may go on with.
bool holds_results(const fs::path& path, std::string_view entry) {
  std::error_code ignored;
  if (entry == "logs") return false;
  if (entry == "metrics.jsonl") return fs::is_regular_file(path, ignored) && fs::file_size(path, ignored) > 0;
  if (entry != "tensorboard" || !fs::is_directory(path, ignored)) return has_content(path);
  const std::size_t header = monitor::tensorboard_header(0).size();
  const fs::directory_iterator files(path, ignored);
  return std::any_of(fs::begin(files), fs::end(files), [&](const fs::directory_entry& file) {
    return !file.is_regular_file(ignored) || file.file_size(ignored) > header;
  });
}

// Whether there are directories of steps to continue from: checkpoints, or an orchestrator's rollouts.
bool holds_steps(const std::string& path) {
  std::error_code ignored;
  const fs::directory_iterator entries(path, ignored);
  return std::any_of(fs::begin(entries), fs::end(entries), [&](const fs::directory_entry& entry) {
    return entry.is_directory(ignored) && entry.path().filename().string().starts_with("step_");
  });
}

std::string make_run_id() {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return fmt::format("{:08x}", static_cast<std::uint32_t>(mix64(static_cast<std::uint64_t>(now),
                                                                static_cast<std::uint64_t>(getpid()))));
}

// Two processes in one directory would write into each other's files.
std::shared_ptr<void> lock_directory(const std::string& path) {
  int fd = -1;
  do {
    fd = open((path + "/.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    throw environment_error(fmt::format("cannot write in output_dir = \"{}\"", path), std::strerror(errno),
                            "choose another --output-dir, or give yourself the right to write there");
  }
  std::shared_ptr<void> lock(nullptr, [fd](void*) { close(fd); });
  int taken = -1;
  do {
    taken = flock(fd, LOCK_EX | LOCK_NB);
  } while (taken != 0 && errno == EINTR);
  if (taken != 0) {
    throw environment_error(fmt::format("another process works in output_dir = \"{}\"", path), {},
                            "wait for its end, or choose another --output-dir");
  }
  return lock;
}

// Removes what runs wrote in `path`; returns how many entries, and names in `left` what it found beside them.
int remove_run(durable::FileLayer& files, const std::string& path, std::vector<std::string>& left) {
  std::error_code ignored;
  std::vector<std::string> entries;
  for (const char* entry : kEntries) {
    const std::string target = path + "/" + entry;
    if (!fs::is_directory(target, ignored)) {
      if (fs::exists(target, ignored)) entries.emplace_back(entry);
      continue;
    }
    for (const auto& inner : fs::directory_iterator(target))
      entries.push_back(fmt::format("{}/{}", entry, inner.path().filename().string()));
  }
  int removed = 0;
  for (const std::string& entry : entries) {
    if (!written_by_runs(entry)) {
      left.push_back(entry);
    } else {
      durable::remove_tree(files, fmt::format("{}/{}", path, entry));
      ++removed;
    }
  }
  for (const char* entry : kEntries) {
    const std::string target = path + "/" + entry;
    if (fs::is_directory(fs::symlink_status(target, ignored)) && fs::is_empty(target, ignored))
      files.remove(target);
  }
  return removed;
}

// Why --clean has no business in `path`; empty if it may work there.
std::string not_to_clean(const std::string& path) {
  std::error_code ignored;
  if (fs::equivalent(path, ".", ignored)) return "it is the current directory";
  const char* home = std::getenv("HOME");
  if (home != nullptr && fs::equivalent(path, home, ignored)) return "it is the home directory";
  if (holds_anything(path) && !RunDirectory::is_run(path))
    return "it holds files, and no configs/resolved.toml of rlcpp that would show them to be a run's";
  return {};
}

}  // namespace

bool RunDirectory::is_run(const std::string& path) {
  std::error_code ignored;
  const std::string resolved = path + "/configs/resolved.toml";
  if (!fs::is_regular_file(path + "/.lock", ignored) || !fs::is_regular_file(resolved, ignored)) return false;
  // Every key with its origin behind it: so does nobody else write it.
  static const std::regex ours("(^|\n)max_nonfinite_steps = [0-9]+  # ");
  return std::regex_search(durable::read_file(resolved), ours);
}

bool RunDirectory::used(const std::string& path) {
  return std::any_of(std::begin(kEntries), std::end(kEntries),
                     [&](const char* entry) { return holds_results(fs::path(path) / entry, entry); });
}

void RunDirectory::check(const std::string& path, OpenRun how) {
  std::error_code ignored;
  if (path.empty()) throw bad_input("output_dir is empty", {}, "give the run a directory: --output-dir DIR");
  if (fs::equivalent(path, "/", ignored)) {
    throw bad_input("output_dir is the root of the file system", {}, "give the run a directory of its own");
  }
  if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) {
    throw bad_input(fmt::format("output_dir = \"{}\" is a file", path), {}, "choose another output_dir");
  }
  if (fs::is_symlink(path, ignored) && !fs::exists(path, ignored)) {
    throw bad_input(fmt::format("output_dir = \"{}\" is a link to nothing", path), {},
                    "make the directory that it names, or choose another output_dir");
  }
  require_writable(path, "output_dir");
  if (how == OpenRun::kFresh && used(path)) {
    const bool saved = holds_steps(path + "/checkpoints") || holds_steps(path + "/rollouts");
    throw bad_input(
        fmt::format("output_dir = \"{}\" was used by another run", path),
        "it holds its metrics or checkpoints, which a new run would mix with its own",
        saved ? "choose another --output-dir, continue with --ckpt.resume-step -1, or remove the old "
                "run with --clean"
              : "choose another --output-dir, or remove the old run with --clean: it has no "
                "checkpoint to continue from");
  }
  if (how != OpenRun::kClean) return;
  if (const std::string why = not_to_clean(path); !why.empty()) {
    throw bad_input(fmt::format("--clean removes nothing in output_dir = \"{}\"", path), why,
                    "choose another --output-dir, or remove the files yourself");
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
    std::vector<std::string> left;
    // configs/resolved.toml stays until the new one replaces it: a --clean cut short can be repeated.
    if (remove_run(files, path_, left) > 0)
      log.info(fmt::format("--clean removed what an earlier run left in {}", path_));
    if (!left.empty()) log.warn(fmt::format("--clean left what no run writes: {}", fmt::join(left, ", ")));
  }
  if (is_run(path_)) {
    for (const char* entry : {"", "/checkpoints", "/weights", "/rollouts", "/broadcasts", "/nonfinite"}) {
      if (fs::exists(path_ + entry, ignored)) durable::remove_leftovers(files, path_ + entry);
    }
  }
  if (fs::exists(path_ + "/configs", ignored))
    durable::remove_leftovers(files, path_ + "/configs", "resolved.toml");
  for (const char* entry : {"configs", "logs"}) durable::make_directories(files, path_ + "/" + entry);
}

RunDirectory RunDirectory::follow(std::string path) {
  RunDirectory out;
  out.path_ = std::move(path);
  out.follows_ = true;
  return out;
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
