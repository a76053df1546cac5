// File layers for tests: one that makes a call fail, one that records calls so that crashes can be replayed.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/durable.h"

namespace rlcpp::test {

// Hands every call to another layer and tells `before` about it.
class ForwardingFiles : public durable::FileLayer {
 public:
  explicit ForwardingFiles(durable::FileLayer& below = durable::system_files()) : below_(below) {}
  int open_new(const std::string& path) override {
    before("open_new", path);
    return remember(below_.open_new(path), path);
  }
  int open_append(const std::string& path) override {
    before("open_append", path);
    return remember(below_.open_append(path), path);
  }
  int open_there(const std::string& path) override {
    before("open_there", path);
    return remember(below_.open_there(path), path);
  }
  void write(int fd, std::span<const std::byte> bytes) override {
    before_write(fd, bytes);
    below_.write(fd, bytes);
  }
  void write_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes) override {
    before_write(fd, bytes);
    below_.write_at(fd, offset, bytes);
  }
  void sync(int fd) override {
    before("sync", path_of(fd));
    below_.sync(fd);
  }
  void close(int fd) override {
    const std::string path = path_of(fd);
    below_.close(fd);  // first: a close that reports an error has still freed the descriptor
    before("close", path);
  }
  void rename(const std::string& from, const std::string& to) override {
    before("rename", from, to);
    below_.rename(from, to);
  }
  void sync_directory(const std::string& path) override {
    before("sync_directory", path);
    below_.sync_directory(path);
  }
  void make_directory(const std::string& path) override {
    before("make_directory", path);
    below_.make_directory(path);
  }
  void remove(const std::string& path) override {
    before("remove", path);
    below_.remove(path);
  }

 protected:
  virtual void before(const std::string& call, const std::string& path, const std::string& to = {}) = 0;
  virtual void before_write(int fd, std::span<const std::byte>) { before("write", path_of(fd)); }
  durable::FileLayer& below() { return below_; }
  std::string path_of(int fd) {
    const std::lock_guard hold(lock_);
    return paths_[fd];
  }

 private:
  int remember(int fd, const std::string& path) {
    const std::lock_guard hold(lock_);
    paths_[fd] = path;
    return fd;
  }
  std::mutex lock_;
  std::map<int, std::string> paths_;
  durable::FileLayer& below_;
};

// The Nth call fails with `error_number`; sticky: all later ones do too. A write that fails has stored half
// its bytes.
class FaultyFiles final : public ForwardingFiles {
 public:
  FaultyFiles(int nth, int error_number, bool sticky) : nth_(nth), error_(error_number), sticky_(sticky) {}
  int calls() const { return calls_; }
  int failures() const { return failures_; }
  const std::string& failed_call() const { return failed_call_; }

 private:
  void before(const std::string& call, const std::string& path, const std::string&) override {
    const std::lock_guard hold(count_lock_);
    ++calls_;
    if (calls_ != nth_ && !(sticky_ && calls_ > nth_)) return;
    if (failures_++ == 0) failed_call_ = call + " " + path;
    throw durable::file_error(call, path, error_);
  }
  void before_write(int fd, std::span<const std::byte> bytes) override {
    try {
      before("write", path_of(fd), {});
    } catch (...) {
      below().write(fd, bytes.first(bytes.size() / 2));
      throw;
    }
  }
  int nth_, error_;
  bool sticky_;
  std::mutex count_lock_;
  int calls_ = 0, failures_ = 0;
  std::string failed_call_;
};

// One recorded change of the disk.
struct DiskCall {
  enum class Kind { kCreate, kWrite, kSync, kRename, kSyncDirectory, kMakeDirectory, kRemove };
  Kind kind;
  std::string path, to;            // paths as they were at the time of the call
  int file = -1;                   // of kCreate, kWrite, kSync: which open
  std::vector<std::byte> bytes{};  // of kWrite
  std::int64_t offset = -1;        // of kWrite; -1: at the end
  // Inodes of the directories that hold `path` and `to`, and of a new directory: a call changes the directory
  // that it found, whatever that is called after a crash that lost a rename.
  ino_t parent = 0, to_parent = 0, self = 0;
};

// Records what reaches the disk. `mutants`: names of calls that are neither recorded nor made ("sync",
// "sync_directory"): the protocol without them must be found wanting.
class RecordingFiles final : public durable::FileLayer {
 public:
  explicit RecordingFiles(std::set<std::string> mutants = {}) : mutants_(std::move(mutants)) {}
  const std::vector<DiskCall>& calls() const { return calls_; }

  int open_new(const std::string& path) override {
    return opened(durable::system_files().open_new(path), path);
  }
  // A file that is opened again is the same file: its sync covers what was written before. Another process
  // that writes to it (open_there) may be on another machine, whose pages only its own sync stores.
  int open_append(const std::string& path) override {
    return opened(durable::system_files().open_append(path), path, true);
  }
  int open_there(const std::string& path) override {
    return opened(durable::system_files().open_there(path), path);
  }
  void write(int fd, std::span<const std::byte> bytes) override {
    durable::system_files().write(fd, bytes);
    record({DiskCall::Kind::kWrite, {}, {}, -1, {bytes.begin(), bytes.end()}}, fd);
  }
  void write_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes) override {
    durable::system_files().write_at(fd, offset, bytes);
    record(
        {DiskCall::Kind::kWrite, {}, {}, -1, {bytes.begin(), bytes.end()}, static_cast<std::int64_t>(offset)},
        fd);
  }
  void sync(int fd) override {
    if (!mutants_.contains("sync")) record({DiskCall::Kind::kSync, {}, {}}, fd);
  }
  void close(int fd) override { durable::system_files().close(fd); }
  void rename(const std::string& from, const std::string& to) override {
    durable::system_files().rename(from, to);
    record({DiskCall::Kind::kRename, from, to});
  }
  void sync_directory(const std::string& path) override {
    if (mutants_.contains("sync_directory") || mutants_.contains("sync_directory " + path)) return;
    record({DiskCall::Kind::kSyncDirectory, path, {}});
  }
  void make_directory(const std::string& path) override {
    durable::system_files().make_directory(path);
    record({DiskCall::Kind::kMakeDirectory, path, {}});
  }
  void remove(const std::string& path) override {
    durable::system_files().remove(path);
    record({DiskCall::Kind::kRemove, path, {}});
  }

 private:
  int opened(int fd, const std::string& path, bool again = false) {
    const std::lock_guard hold(lock_);
    struct stat status {};
    fstat(fd, &status);
    const auto known = inodes_.find(status.st_ino);
    paths_[fd] = path;
    files_[fd] = again && known != inodes_.end() ? known->second : next_file_++;
    inodes_[status.st_ino] = files_[fd];
    DiskCall call{DiskCall::Kind::kCreate, path, {}, files_[fd]};
    call.parent = inode_of(parent_of(path));
    calls_.push_back(std::move(call));
    return fd;
  }
  void record(DiskCall call, int fd = -1) {
    const std::lock_guard hold(lock_);
    if (fd >= 0) {
      call.path = paths_[fd];
      call.file = files_[fd];
    }
    if (fd < 0) call.parent = inode_of(parent_of(call.path));
    if (!call.to.empty()) call.to_parent = inode_of(parent_of(call.to));
    if (call.kind == DiskCall::Kind::kMakeDirectory) call.self = inode_of(call.path);
    calls_.push_back(std::move(call));
  }
  static std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path(); }
  static ino_t inode_of(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }
  std::mutex lock_;
  std::set<std::string> mutants_;
  std::vector<DiskCall> calls_;
  std::map<int, std::string> paths_;
  std::map<int, int> files_;
  std::map<ino_t, int> inodes_;
  int next_file_ = 0;
};

// What a disk may hold after a crash: the calls so far, of which any not yet made durable may be missing,
// whatever came after them. A write is durable after a sync of its file; a change of names after a sync of
// the directory that holds them. Each state is given as the list of calls that reached the disk (a write may
// be shortened to half or nothing). At most `max_dropped` calls are missing. Returns the number of states
// visited.
std::size_t for_crash_states(
    const std::vector<DiskCall>& calls, std::size_t max_dropped,
    const std::function<void(std::size_t crash_after, const std::vector<DiskCall>&)>& visit);

// `states` of them, drawn by `rng`: a crash after any call, and for each call not yet durable one of its
// fates, so that any number may be missing.
void for_random_crash_states(
    const std::vector<DiskCall>& calls, std::size_t states, std::mt19937_64& rng,
    const std::function<void(std::size_t crash_after, const std::vector<DiskCall>&)>& visit);

// Makes the state of `calls`, begun in the empty directory `root_then`, in the empty directory `root_now`.
void make_state(const std::vector<DiskCall>& calls, const std::string& root_then,
                const std::string& root_now);

}  // namespace rlcpp::test
