#include "hub/download.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/log.h"
#include "hub/digest.h"
#include "hub/http.h"

namespace rlcpp::hub {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// A partial file, open for adding.
class PartialFile {
 public:
  explicit PartialFile(std::string path) : path_(std::move(path)) {
    fd_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw durable::file_error("open", path_, errno);
    const off_t end = lseek(fd_, 0, SEEK_END);
    if (end < 0) throw durable::file_error("look at", path_, errno);
    size_ = static_cast<std::uint64_t>(end);
  }
  ~PartialFile() { close(fd_); }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  std::uint64_t size() const { return size_; }
  void add(std::span<const std::byte> bytes) {
    durable::system_files().write(fd_, bytes);
    size_ += bytes.size();
  }
  void restart() {
    if (ftruncate(fd_, 0) != 0) throw durable::file_error("shorten", path_, errno);
    lseek(fd_, 0, SEEK_SET);
    size_ = 0;
  }
  void sync() const { durable::system_files().sync(fd_); }
  std::string digest(DigestKind kind) const {
    Digest digest(kind);
    if (kind == DigestKind::kSha1) {  // git: the hash of "blob <size>\0" and the content
      const std::string head = fmt::format("blob {}", size_) + '\0';
      digest.update(std::as_bytes(std::span(head)));
    }
    std::vector<std::byte> piece(std::size_t{1} << 20);
    for (std::uint64_t at = 0; at < size_;) {
      const ssize_t got = pread(fd_, piece.data(), piece.size(), static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) throw durable::file_error("read", path_, got == 0 ? EIO : errno);
      digest.update(std::span(piece).first(static_cast<std::size_t>(got)));
      at += static_cast<std::uint64_t>(got);
    }
    return digest.hex();
  }

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

void require_room(const std::string& path, std::uint64_t bytes) {
  struct statvfs disk {};
  if (statvfs(fs::path(path).parent_path().c_str(), &disk) != 0) return;
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (bytes <= free) return;
  throw environment_error("there is no room for " + path,
                          fmt::format("{} bytes are still to come, {} are free", bytes, free),
                          "free some, or put the cache elsewhere with HF_HUB_CACHE");
}

bool may_pass(int status) {
  return status == 0 || status == 408 || status == 429 || status >= 500;
}

// What one attempt came to.
struct Attempt {
  bool done = false;
  bool fatal = false;
  int status = 0;
  std::string why;
};

// "bytes 10-19/20": where the answer begins and how long the whole is.
bool continues_at(const HttpResponse& response, std::uint64_t offset, std::optional<std::uint64_t> size) {
  const std::string range = response.header("content-range");
  const std::size_t dash = range.find('-'), slash = range.find('/');
  if (!range.starts_with("bytes ") || dash == std::string::npos || slash == std::string::npos) return false;
  const auto begin = number_of(std::string_view(range).substr(6, dash - 6));
  const auto whole = number_of(std::string_view(range).substr(slash + 1));
  return begin == offset && (!size || !whole || *whole == *size);
}

Attempt attempt(const DownloadTask& task, std::optional<std::uint64_t>& size, PartialFile& partial) {
  HttpRequest request;
  request.url = task.url;
  request.headers = task.headers;
  request.connect_limit = task.retry.connect_limit;
  request.stall_limit = task.retry.stall_limit;
  request.offset = partial.size();
  request.stoppable = true;
  Attempt out;
  bool first = true;
  const HttpResponse response =
      http_request(request, [&](const HttpResponse& so_far, std::span<const std::byte> part) {
        if (so_far.status != 200 && so_far.status != 206) return false;
        if (std::exchange(first, false)) {
          if (so_far.status == 206 && !continues_at(so_far, partial.size(), size)) {
            out.why = fmt::format("the range that came back is \"{}\"", so_far.header("content-range"));
            partial.restart();
            return false;
          }
          // A server that knows no ranges begins anew.
          if (so_far.status == 200 && partial.size() > 0) partial.restart();
          const auto length = number_of(so_far.header("content-length"));
          if (length && !size) size = partial.size() + *length;
          if (length && partial.size() + *length != *size) {
            out.why = fmt::format("the server announces {} bytes, and the file has {}",
                                  partial.size() + *length, *size);
            return false;
          }
        }
        if (size && partial.size() + part.size() > *size) {
          out.why = fmt::format("more than the {} bytes of the file came", *size);
          partial.restart();
          return false;
        }
        partial.add(part);
        if (task.progress) task.progress(partial.size(), size.value_or(0));
        return true;
      });
  if (response.circles) throw redirected_in_circles(response, task.what);
  out.status = response.status;
  if (!out.why.empty()) return out;
  if (response.status == 416) {  // nothing behind the bytes that are here
    if (!size || partial.size() != *size) partial.restart();
    out.done = size && partial.size() == *size;
    out.why = "the server has no such range";
    return out;
  }
  if (response.status != 200 && response.status != 206) {
    out.fatal = !may_pass(response.status);
    out.why = response.status == 0 ? response.failure : fmt::format("the server answers {}", response.status);
    return out;
  }
  out.done = response.complete() && (!size || partial.size() == *size);
  if (!out.done) {
    out.why = !response.failure.empty()
                  ? response.failure
                  : fmt::format("{} of {} bytes came", partial.size(), size.value_or(0));
  }
  return out;
}

// Attempts since the transfer last got on, in the sense of RetryPolicy.
class Patience {
 public:
  Patience(const RetryPolicy& policy, std::uint64_t at) : policy_(policy), fair_at_(at), newest_(at) {}

  // After an attempt that ended at `at`.
  void attempted(std::uint64_t at) {
    if (at < newest_) ++begun_anew_;
    if (at < fair_at_) fair_at_ = at;
    if (at - fair_at_ >= policy_.fair_bytes) {
      poor_ = 0;
      pause_ = policy_.first_pause;
      fair_at_ = at;
    }
    fruitless_ = at > newest_ ? 1 : fruitless_ + 1;
    newest_ = at;
    ++poor_;
  }
  bool over() const {
    return std::max(fruitless_, begun_anew_) >= policy_.attempts || poor_ >= policy_.poor_attempts;
  }
  int attempts() const { return fruitless_ >= policy_.attempts ? fruitless_ : poor_; }
  std::uint64_t brought() const { return newest_ - fair_at_; }
  std::chrono::milliseconds next_pause() {
    return std::exchange(pause_, std::min(pause_ * 2, std::chrono::milliseconds(20'000)));
  }

 private:
  const RetryPolicy& policy_;
  std::uint64_t fair_at_, newest_;
  int fruitless_ = 0, poor_ = 0, begun_anew_ = 0;
  std::chrono::milliseconds pause_ = policy_.first_pause;
};

// Gets all bytes, in as many attempts as get on.
void transfer(const DownloadTask& task, std::optional<std::uint64_t>& size, PartialFile& partial) {
  if (size && partial.size() > *size) partial.restart();
  // Whole already: only its checksum is open. (A file of no bytes is asked for nevertheless.)
  if (size && *size > 0 && partial.size() == *size) return;
  Patience patience(task.retry, partial.size());
  for (;;) {
    const Attempt result = attempt(task, size, partial);
    if (result.done) return;
    leave_if_stopped(task.what);
    if (result.fatal) throw refused_by_hub(result.status, task.what, !task.headers.empty());
    patience.attempted(partial.size());
    if (patience.over()) {
      throw environment_error("the download of " + task.what + " does not get on",
                              fmt::format("{} attempts brought {} bytes; the last one: {}",
                                          patience.attempts(), patience.brought(), result.why),
                              "start again later: it goes on where it stopped");
    }
    if (task.note)
      task.note(fmt::format("{}: {}; trying again at byte {}", task.what, result.why, partial.size()));
    pause_unless_stopped(patience.next_pause(), task.what);
  }
}

}  // namespace

Error redirected_in_circles(const HttpResponse& response, const std::string& what) {
  return environment_error("the hub redirects in a circle for " + what,
                           fmt::format("after {} redirects comes another to {}", kMostRedirects,
                                       printable(response.header("location"))),
                           "check HF_ENDPOINT and what stands between here and it");
}

Error refused_by_hub(int status, const std::string& what, bool with_token) {
  if (status == 401 || status == 403) {
    return bad_input("the hub does not give out " + what, fmt::format("it answers {}", status),
                     with_token ? "ask for access on its page, or check the name and the token (HF_TOKEN)"
                                : "check the name; if it is private or gated, set HF_TOKEN");
  }
  if (status == 404) {
    return bad_input("the hub has no " + what, "it answers 404", "check the name and the revision");
  }
  return environment_error("the hub does not answer for " + what, fmt::format("it answers {}", status),
                           "start again later");
}

void download_blob(const HubCache& cache, const DownloadTask& task) {
  const HubFile& file = task.file;
  const HubCache::Lock lock(cache, file.etag, std::chrono::minutes(10), task.note);
  const std::string path = cache.blob(file.etag);
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored) && (!file.size || fs::file_size(path, ignored) == *file.size))
    return;
  for (int round = 0;; ++round) {
    PartialFile partial(cache.incomplete(file.etag));
    std::optional<std::uint64_t> size = file.size;
    if (size && *size > partial.size()) require_room(path, *size - partial.size());
    transfer(task, size, partial);
    const bool sha1 = file.etag.size() == 40 && is_commit(file.etag);
    const bool sha256 = file.etag.size() == 64;
    const std::string found = sha1     ? partial.digest(DigestKind::kSha1)
                              : sha256 ? partial.digest(DigestKind::kSha256)
                                       : file.etag;
    if (found == file.etag) {
      partial.sync();
      durable::system_files().rename(cache.incomplete(file.etag), path);
      return;
    }
    // Bytes of an earlier attempt may have been wrong, so once it is loaded anew.
    partial.restart();
    if (round > 0) {
      throw environment_error(
          "what was downloaded as " + task.what + " is not what the hub has",
          fmt::format("its {} is {}, and the hub says {}", sha1 ? "git id" : "SHA-256", found, file.etag),
          "look for a proxy that changes files, and start again");
    }
    if (task.note) task.note(task.what + ": the checksum is wrong; loading it again");
  }
}

}  // namespace rlcpp::hub
