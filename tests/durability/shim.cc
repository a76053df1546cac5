// What a disk, a clock or a kernel can do to a process, done to one that is started with
// LD_PRELOAD=libdurability_shim.so: below the product's file layer, so whatever it does to files is counted,
// and can be made to fail, to be slow, or to be the last thing it did.
//
//   RLCPP_SHIM_ROOT=DIR     calls that change something below DIR are counted, from 1
//   RLCPP_SHIM_LOG=FILE     a line for each: "NUMBER CALL PATH [TO]"; FILE is not below DIR
//   RLCPP_SHIM_FAULT=WHAT:N or WHAT:N+ (from N on), several with ';'
//       before, after       SIGKILL to itself before or after call N
//       errno number        the call fails; a write has stored half of its bytes
//       short               a write stores half of its bytes and says so
//       eintr               a call that may be interrupted is, once for each
//       sync(MS)            the Nth fsync or fdatasync takes so long
//   RLCPP_SHIM_READ=BYTES   a second: reads below DIR are no faster
//   RLCPP_SHIM_CLOCK=SECONDS:MS   the wall clock jumps by so much, MS milliseconds after the start
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

struct Fault {
  enum class Kind { kBefore, kAfter, kErrno, kShort, kInterrupt, kSync } kind = Kind::kBefore;
  long argument = 0, nth = 0;
  bool onward = false;
  bool due(long number) const { return number == nth || (onward && number >= nth); }
};

std::int64_t monotonic_ns() {
  timespec now{};
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

class Shim {
 public:
  Shim() {
    const char* root = std::getenv("RLCPP_SHIM_ROOT");
    if (root != nullptr) std::snprintf(root_, sizeof root_, "%s", root);
    root_length_ = std::strlen(root_);
    if (const char* log = std::getenv("RLCPP_SHIM_LOG"); log != nullptr)
      log_ = static_cast<int>(
          syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (const char* faults = std::getenv("RLCPP_SHIM_FAULT"); faults != nullptr) parse(faults);
    if (const char* rate = std::getenv("RLCPP_SHIM_READ"); rate != nullptr) read_rate_ = std::atol(rate);
    if (const char* clock = std::getenv("RLCPP_SHIM_CLOCK"); clock != nullptr) {
      char* rest = nullptr;
      jump_ = std::strtol(clock, &rest, 10);
      jump_at_ = monotonic_ns() + (*rest == ':' ? std::atol(rest + 1) : 0) * 1'000'000LL;
    }
  }

  bool inside(const char* path) const {
    return root_length_ > 0 && path != nullptr && std::strncmp(path, root_, root_length_) == 0 &&
           (path[root_length_] == '/' || path[root_length_] == 0);
  }
  bool inside(int fd, char* path, std::size_t size) const {
    if (root_length_ == 0) return false;
    char link[40];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t got = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
    if (got <= 0) return false;
    path[got] = 0;
    return inside(path);
  }
  bool counts() const { return root_length_ > 0; }
  void mark(int fd, bool writes) {
    if (fd >= 0 && fd < kFiles) writes_[fd] = writes;
  }
  bool writes(int fd) const { return fd >= 0 && fd < kFiles && writes_[fd]; }

  // Counts a call. `fail`: takes an error number, or -1 for a short write; what it returns is the call's
  // result. `call`: makes it.
  template <class Call, class Fail>
  auto pass(const char* name, const char* path, const char* to, bool interruptible, Call call, Fail fail)
      -> decltype(call()) {
    const long number = ++count_;
    if (log_ >= 0) {
      char line[2 * PATH_MAX];
      const int length = std::snprintf(line, sizeof line, "%ld %s %s%s%s\n", number, name, path,
                                       to != nullptr ? " " : "", to != nullptr ? to : "");
      syscall(SYS_write, log_, line, length);
    }
    const bool sync = std::strstr(name, "sync") != nullptr && std::strcmp(name, "sync_directory") != 0;
    const long syncs = sync ? ++syncs_ : 0;
    for (int i = 0; i < faults_used_; ++i) {
      const Fault& fault = faults_[i];
      if (fault.kind == Fault::Kind::kSync) {
        if (sync && fault.due(syncs)) sleep_ms(fault.argument);
        continue;
      }
      if (!fault.due(number)) continue;
      switch (fault.kind) {
        case Fault::Kind::kBefore:
          end();
          break;
        case Fault::Kind::kAfter: {
          call();
          end();
          break;
        }
        case Fault::Kind::kErrno:
          return fail(static_cast<int>(fault.argument));
        case Fault::Kind::kShort:
          return fail(-1);
        case Fault::Kind::kInterrupt:
          // Every second try goes through, or nothing ever would.
          if (interruptible && !interrupted_.exchange(true)) return fail(EINTR);
          interrupted_ = false;
          break;
        case Fault::Kind::kSync:
          break;
      }
    }
    return call();
  }

  void slow_read(ssize_t bytes) const {
    if (read_rate_ > 0 && bytes > 0) sleep_ms(bytes * 1000 / read_rate_);
  }
  bool slow() const { return read_rate_ > 0; }
  std::int64_t jump_seconds() const { return jump_ != 0 && monotonic_ns() >= jump_at_ ? jump_ : 0; }

 private:
  static constexpr int kFiles = 4096, kFaults = 8;
  [[noreturn]] static void end() {
    for (;;) syscall(SYS_kill, getpid(), SIGKILL);
  }
  static void sleep_ms(long ms) {
    timespec left{ms / 1000, ms % 1000 * 1'000'000};
    while (syscall(SYS_nanosleep, &left, &left) != 0 && errno == EINTR) {
    }
  }
  void parse(const char* text) {
    while (*text != 0 && faults_used_ < kFaults) {
      Fault fault;
      char* rest = nullptr;
      if (std::strncmp(text, "before", 6) == 0) {
        fault.kind = Fault::Kind::kBefore;
      } else if (std::strncmp(text, "after", 5) == 0) {
        fault.kind = Fault::Kind::kAfter;
      } else if (std::strncmp(text, "short", 5) == 0) {
        fault.kind = Fault::Kind::kShort;
      } else if (std::strncmp(text, "eintr", 5) == 0) {
        fault.kind = Fault::Kind::kInterrupt;
      } else if (std::strncmp(text, "sync(", 5) == 0) {
        fault.kind = Fault::Kind::kSync;
        fault.argument = std::atol(text + 5);
      } else {
        fault.kind = Fault::Kind::kErrno;
        fault.argument = std::atol(text);
      }
      text = std::strchr(text, ':');
      if (text == nullptr) break;
      fault.nth = std::strtol(text + 1, &rest, 10);
      fault.onward = *rest == '+';
      faults_[faults_used_++] = fault;
      text = std::strchr(rest, ';');
      if (text == nullptr) break;
      ++text;
    }
  }

  char root_[PATH_MAX] = {};
  std::size_t root_length_ = 0;
  int log_ = -1;
  Fault faults_[kFaults];
  int faults_used_ = 0;
  long read_rate_ = 0;
  std::int64_t jump_ = 0, jump_at_ = 0;
  std::atomic<long> count_ = 0, syncs_ = 0;
  std::atomic<bool> interrupted_ = false;
  bool writes_[kFiles] = {};
};

Shim& shim() {
  static Shim instance;
  return instance;
}

int refuse(int error) {
  errno = error > 0 ? error : EIO;
  return -1;
}

// `store` writes so many bytes.
template <class Store>
ssize_t write_through(int fd, std::size_t count, const char* name, Store store) {
  char path[PATH_MAX];
  if (!shim().counts() || !shim().writes(fd) || !shim().inside(fd, path, sizeof path)) return store(count);
  return shim().pass(
      name, path, nullptr, true, [&] { return store(count); },
      [&](int error) -> ssize_t {
        if (error == EINTR) return refuse(EINTR);
        if (error < 0) return store(count > 1 ? count / 2 : count);
        store(count / 2);
        return refuse(error);
      });
}

template <class Change>
int change(const char* name, const char* path, const char* to, Change call) {
  if (!shim().inside(path)) return call();
  // Neither short nor interrupted: the system does not do that to them.
  return shim().pass(name, path, to, false, call,
                     [&](int error) { return error < 0 ? call() : refuse(error); });
}

template <class Open>
int open_through(const char* path, int flags, Open call) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  if (!writes || !shim().inside(path)) return call();
  const int fd = shim().pass("open", path, nullptr, true, call,
                             [&](int error) { return error < 0 ? call() : refuse(error); });
  shim().mark(fd, true);
  return fd;
}

template <class Sync>
int sync_through(int fd, const char* name, Sync call) {
  char path[PATH_MAX];
  if (!shim().inside(fd, path, sizeof path)) return call();
  struct stat status {};
  const bool directory = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
  return shim().pass(directory ? "sync_directory" : name, path, nullptr, true, call,
                     [&](int error) { return error < 0 ? call() : refuse(error); });
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open_through(path, flags,
                      [&] { return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, flags, mode)); });
}
int open64(const char* path, int flags, ...) __attribute__((alias("open")));

ssize_t write(int fd, const void* bytes, size_t count) {
  return write_through(fd, count, "write", [&](size_t some) { return syscall(SYS_write, fd, bytes, some); });
}
ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return write_through(fd, count, "pwrite",
                       [&](size_t some) { return syscall(SYS_pwrite64, fd, bytes, some, offset); });
}
static_assert(sizeof(off_t) == sizeof(off64_t));
ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) __attribute__((alias("pwrite")));

ssize_t read(int fd, void* bytes, size_t count) {
  const ssize_t got = syscall(SYS_read, fd, bytes, count);
  char path[PATH_MAX];
  if (shim().slow() && shim().inside(fd, path, sizeof path)) shim().slow_read(got);
  return got;
}
ssize_t pread(int fd, void* bytes, size_t count, off_t offset) {
  const ssize_t got = syscall(SYS_pread64, fd, bytes, count, offset);
  char path[PATH_MAX];
  if (shim().slow() && shim().inside(fd, path, sizeof path)) shim().slow_read(got);
  return got;
}
ssize_t pread64(int fd, void* bytes, size_t count, off64_t offset) {
  return pread(fd, bytes, count, offset);
}

int fsync(int fd) {
  return sync_through(fd, "fsync", [&] { return static_cast<int>(syscall(SYS_fsync, fd)); });
}
int fdatasync(int fd) {
  return sync_through(fd, "fdatasync", [&] { return static_cast<int>(syscall(SYS_fdatasync, fd)); });
}

int close(int fd) {
  const auto call = [&] { return static_cast<int>(syscall(SYS_close, fd)); };
  char path[PATH_MAX];
  if (!shim().writes(fd) || !shim().inside(fd, path, sizeof path)) return call();
  shim().mark(fd, false);
  // Linux has freed the descriptor whatever it says.
  return shim().pass("close", path, nullptr, true, call, [&](int error) {
    const int result = call();
    return error < 0 ? result : refuse(error);
  });
}

int rename(const char* from, const char* to) {
  return change("rename", from, to,
                [&] { return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)); });
}
int mkdir(const char* path, mode_t mode) {
  return change("mkdir", path, nullptr,
                [&] { return static_cast<int>(syscall(SYS_mkdirat, AT_FDCWD, path, mode)); });
}
int unlink(const char* path) {
  return change("unlink", path, nullptr,
                [&] { return static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, 0)); });
}
int rmdir(const char* path) {
  return change("rmdir", path, nullptr,
                [&] { return static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); });
}
int remove(const char* path) {
  struct stat status {};
  const bool directory = lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
  return change("remove", path, nullptr, [&] {
    return static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, directory ? AT_REMOVEDIR : 0));
  });
}

int clock_gettime(clockid_t clock, timespec* now) {
  const int result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += shim().jump_seconds();
  return result;
}
int gettimeofday(timeval* now, void*) {
  timespec precise{};
  const int result = clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return result;
}
time_t time(time_t* out) {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (out != nullptr) *out = precise.tv_sec;
  return precise.tv_sec;
}

}  // extern "C"
