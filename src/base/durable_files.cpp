// The system's file layer, and what needs nothing but its calls: whole files, directories, trees.
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/durable.h"
#include "base/durable_detail.h"
#include "base/failpoint.h"

namespace rlcpp::durable {
namespace {

namespace fs = std::filesystem;

const failpoint::Registration kFilePoints{
    "durable.call",           "durable.open",           "durable.append", "durable.write",
    "durable.write.half",     "durable.sync",           "durable.close",  "durable.rename",
    "durable.sync_directory", "durable.make_directory", "durable.remove"};

std::string_view pass(std::string_view name) {
  failpoint::hit("durable.call");
  return failpoint::hit(name);
}

// The path behind a descriptor, for messages only.
std::string path_of(int fd) {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
  return error ? "descriptor " + std::to_string(fd) : path.string();
}

template <class Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Of the process, as the disk is; see when_full().
struct Patience {
  std::function<void(const Error&)> handler;
  std::atomic<std::uint64_t> tries = 0;
};

Patience& patience() {
  static Patience instance;
  return instance;
}

// Returns if the call is to be made again.
void refused(std::string_view operation, const std::string& path, int error_number) {
  Error error = file_error(operation, path, error_number);
  Patience& p = patience();
  if (!p.handler || (error_number != ENOSPC && error_number != EDQUOT)) throw error;
  p.handler(error);
  ++p.tries;
}

void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) {
      refused("write", path_of(fd), errno);
      continue;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void write_all_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retry_interrupted(
        [&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (written < 0) {
      refused("write", path_of(fd), errno);
      continue;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

// Storing begins at once instead of when the cache is full or the file is synced, so that the disk works
// while the rest is written. A hint: sync() reports what goes wrong.
void begin_storing(int fd, std::uint64_t offset, std::size_t bytes) {
  ::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
}

class SystemFiles final : public FileLayer {
 public:
  int open_new(const std::string& path) override {
    pass("durable.open");
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, "create");
  }
  int open_append(const std::string& path) override {
    pass("durable.append");
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, "open for appending");
  }
  int open_there(const std::string& path) override {
    pass("durable.open");
    return open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC, "open for writing");
  }
  void write(int fd, std::span<const std::byte> bytes) override {
    if (!failpoint::any_armed()) return write_all(fd, bytes);
    in_halves(bytes, [&](std::size_t, std::span<const std::byte> half) { write_all(fd, half); });
  }
  void write_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (!failpoint::any_armed()) {
      write_all_at(fd, offset, bytes);
      return begin_storing(fd, offset, bytes.size());
    }
    in_halves(bytes, [&](std::size_t done, std::span<const std::byte> half) {
      write_all_at(fd, offset + done, half);
    });
  }
  void sync(int fd) override {
    pass("durable.sync");
    if (retry_interrupted([&] { return ::fdatasync(fd); }) < 0) throw file_error("sync", path_of(fd), errno);
  }
  void close(int fd) override {
    // Linux frees the descriptor whatever close() returns, so the name is read before and nothing is retried.
    const std::string path = path_of(fd);
    struct Closer {
      int fd;
      ~Closer() {
        if (fd >= 0) ::close(fd);
      }
    } closer{fd};
    pass("durable.close");
    closer.fd = -1;
    if (::close(fd) < 0 && errno != EINTR) throw file_error("close", path, errno);
  }
  void rename(const std::string& from, const std::string& to) override {
    pass("durable.rename");
    while (::rename(from.c_str(), to.c_str()) < 0) refused("rename to " + to, from, errno);
  }
  void sync_directory(const std::string& path) override {
    pass("durable.sync_directory");
    const int fd =
        retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (fd < 0) throw file_error("open for syncing", path, errno);
    const int result = retry_interrupted([&] { return ::fsync(fd); });
    const int error = errno;
    ::close(fd);
    // EINVAL: the file system has no such notion (PostgreSQL's fsync_fname lets it pass for the same reason).
    if (result < 0 && error != EINVAL) throw file_error("sync", path, error);
  }
  void make_directory(const std::string& path) override {
    pass("durable.make_directory");
    while (::mkdir(path.c_str(), 0777) < 0) refused("create the directory", path, errno);
  }
  void remove(const std::string& path) override {
    pass("durable.remove");
    if (::remove(path.c_str()) < 0) throw file_error("remove", path, errno);
  }

 private:
  // With the fail points of a write around and between: store(bytes before, half).
  template <class Store>
  static void in_halves(std::span<const std::byte> bytes, Store store) {
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    // A disk that lies: one bit is stored wrong and nobody is told.
    if (pass("durable.write") == "flip" && !copy.empty()) copy[copy.size() / 2] ^= std::byte{0x10};
    const std::span<const std::byte> all(copy);
    store(std::size_t{0}, all.first(all.size() / 2));
    failpoint::hit("durable.write.half");
    store(all.size() / 2, all.subspan(all.size() / 2));
  }
  static int open(const std::string& path, int flags, const char* operation) {
    for (;;) {
      const int fd = retry_interrupted([&] { return ::open(path.c_str(), flags, 0666); });
      if (fd >= 0) return fd;
      refused(operation, path, errno);
    }
  }
};

const char* mend(int error_number) {
  switch (error_number) {
    case ENOSPC:
      return "free space (or inodes: df -i) on this file system, or choose another output directory";
    case EDQUOT:
      return "your quota on this file system is used up: remove files or choose another output directory";
    case EACCES:
    case EPERM:
      return "check owner and permissions of the path, or choose another output directory";
    case EROFS:
      return "the file system is mounted read-only: choose another output directory";
    case EIO:
      return "the disk reported an error: look at dmesg, and do not trust this file system until it is "
             "checked";
    case EMFILE:
    case ENFILE:
      return "too many files are open: raise `ulimit -n`";
    case EFBIG:
      return "the file is larger than `ulimit -f` or the file system allows";
    case ENOENT:
      return "a directory of the path does not exist or was removed while running";
    case EEXIST:
    case ENOTEMPTY:
      return "another run may use this directory: choose another one, or remove what is in the way";
    case ENAMETOOLONG:
      return "choose a shorter path";
    case EXDEV:
      return "both names must be on one file system";
    case ELOOP:
      return "the path is a symbolic link, which is never written through: name the real path";
    default:
      return "check that the path is on a healthy, writable file system";
  }
}

std::vector<std::string> children_of(const std::string& path) {
  std::vector<std::string> children;
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    children.push_back(at->path().string());
  }
  if (error) throw file_error("list", path, error.value());
  return children;
}

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool exists_in_tree(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void remove_inside(FileLayer& files, const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(fs::symlink_status(path, ignored))) {
    for (const std::string& child : children_of(path)) remove_inside(files, child);
  }
  files.remove(path);
}

}  // namespace

namespace detail {

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string random_suffix() {
  std::array<std::uint8_t, 6> bytes{};
  // Short reads cannot happen for so few bytes once the pool is ready; a failure leaves zeros, and O_EXCL
  // refuses a clash.
  [[maybe_unused]] const auto got = ::getrandom(bytes.data(), bytes.size(), 0);
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace detail

FileLayer& system_files() {
  static SystemFiles files;
  return files;
}

void when_full(std::function<void(const Error&)> handler) {
  patience().handler = std::move(handler);
}

std::uint64_t tries_for_room() {
  return patience().tries;
}

Error file_error(std::string_view operation, const std::string& path, int error_number) {
  return environment_error("cannot " + std::string(operation) + ": " + path,
                           "the system says: " + std::generic_category().message(error_number),
                           mend(error_number));
}

void write_file(FileLayer& files, const std::string& path, std::string_view content) {
  // The rename would put a plain file in the place of /dev/stdout or of a pipe.
  std::error_code ignored;
  const auto kind = std::filesystem::status(path, ignored).type();
  using Type = std::filesystem::file_type;
  if (kind == Type::character || kind == Type::block || kind == Type::fifo || kind == Type::socket) {
    throw bad_input("cannot write " + path, "it is a device, a pipe or a socket", "name a plain file");
  }
  if (kind == Type::directory) throw bad_input("cannot write " + path, "it is a directory", "name a file");
  // Said of the file that was asked for, not of the temporary one.
  if (const std::string parent = detail::parent_of(path); !exists_in_tree(parent)) {
    throw environment_error("cannot write " + path, "there is no directory " + parent,
                            "make it, or name another place; somebody may have removed it meanwhile");
  }
  const std::string temporary = path + ".tmp-" + detail::random_suffix();
  detail::OpenFile file(files, files.open_new(temporary));
  try {
    files.write(file.fd(), std::as_bytes(std::span(content)));
    files.sync(file.fd());
    file.close();
    files.rename(temporary, path);
  } catch (...) {
    try {
      files.remove(temporary);
    } catch (const Error&) {  // remove_leftovers() finds it later
    }
    throw;
  }
  files.sync_directory(detail::parent_of(path));
}

void make_directories(FileLayer& files, const std::string& path) {
  if (path.empty() || is_directory(path)) return;
  const std::string parent = detail::parent_of(path);
  if (parent != path) make_directories(files, parent);
  if (fs::path(path).filename().empty()) return;  // "a/b/" names what "a/b" made
  try {
    files.make_directory(path);
  } catch (const Error&) {
    if (!is_directory(path)) throw;  // otherwise somebody else was faster
  }
  files.sync_directory(parent);
}

void remove_tree(FileLayer& files, const std::string& path) {
  if (!exists_in_tree(path)) return;
  const std::string trash = path + ".trash-" + detail::random_suffix();
  files.rename(path, trash);
  // Without this a crash could keep the old name together with some of the removals.
  files.sync_directory(detail::parent_of(path));
  remove_inside(files, trash);
}

void remove_leftovers(FileLayer& files, const std::string& directory, std::string_view prefix) {
  if (!is_directory(directory)) return;
  for (const std::string& path : children_of(directory)) {
    const std::string name = fs::path(path).filename().string();
    if (!name.starts_with(prefix)) continue;
    if (name.find(".tmp-") != std::string::npos || name.find(".trash-") != std::string::npos)
      remove_inside(files, path);
  }
}

std::string read_file(const std::string& path) {
  if (is_directory(path)) throw bad_input("cannot read " + path, "it is a directory", "name a file");
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw bad_input("cannot read " + path, "the system says: " + std::generic_category().message(errno),
                    "check the path and its permissions");
  }
  std::ostringstream content;
  content << file.rdbuf();
  if (file.bad() || content.bad()) {
    throw environment_error("cannot read " + path,
                            "the system says: " + std::generic_category().message(errno),
                            "check that the file system is healthy");
  }
  return std::move(content).str();
}

}  // namespace rlcpp::durable
