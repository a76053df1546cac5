#include "hub/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"
#include "base/json_text.h"
#include "hub/http.h"

namespace rlcpp::hub {
namespace {

namespace fs = std::filesystem;

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_word(std::string_view text, std::string_view also) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           also.find(c) != std::string_view::npos;
  });
}

// Of an organisation or a repository (huggingface_hub, validate_repo_id).
bool is_hub_name(std::string_view text) {
  return text.size() <= 96 && is_word(text, "-_.") && text.front() != '.' && text.front() != '-' &&
         text.back() != '.' && text.back() != '-' && text.find("--") == std::string_view::npos &&
         text.find("..") == std::string_view::npos;
}

void require_done(const std::error_code& error, const char* operation, const std::string& path) {
  if (error) throw durable::file_error(operation, path, error.value());
}

}  // namespace

std::string Repository::text() const {
  return revision == "main" ? id : id + "@" + revision;
}

std::string Repository::folder() const {
  std::string name = id;
  name.replace(name.find('/'), 1, "--");
  return (kind == RepositoryKind::kModel ? "models--" : "datasets--") + name;
}

std::optional<Repository> parse_repository(std::string_view name, RepositoryKind kind) {
  Repository out;
  out.kind = kind;
  if (const std::size_t at = name.find('@'); at != std::string_view::npos) {
    out.revision = name.substr(at + 1);
    name = name.substr(0, at);
    if (!is_repository_path(out.revision) || !is_word(out.revision, "-_./")) return std::nullopt;
  }
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos || !is_hub_name(name.substr(0, slash)) ||
      !is_hub_name(name.substr(slash + 1)) || name.ends_with(".git")) {
    return std::nullopt;
  }
  out.id = name;
  return out;
}

bool is_repository_path(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.front() == '/' || path.back() == '/') return false;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7F) return false;
  }
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    begin = end + 1;
  }
  return true;
}

bool is_etag(std::string_view text) {
  return text.size() <= 128 && is_word(text, "-_");
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && is_hex(text);
}

HubCache::HubCache(std::string root, const Repository& repository)
    : root_(std::move(root)), revision_(repository.revision), folder_(repository.folder()) {}

std::optional<std::string> HubCache::commit() const {
  std::error_code ignored;
  // A revision can be a commit itself.
  if (is_commit(revision_) && fs::is_directory(snapshot(revision_), ignored)) return revision_;
  const std::string path = fmt::format("{}/{}/refs/{}", root_, folder_, revision_);
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  std::string text = durable::read_file(path);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return is_commit(text) ? std::optional(text) : std::nullopt;
}

std::string HubCache::snapshot(const std::string& commit) const {
  return fmt::format("{}/{}/snapshots/{}", root_, folder_, commit);
}

std::set<std::string> HubCache::files(const std::string& commit) const {
  std::set<std::string> found;
  const fs::path root = snapshot(commit);
  std::error_code error;
  for (fs::recursive_directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    // Follows the link: a blob that is missing does not count.
    if (fs::is_regular_file(at->path(), ignored)) found.insert(at->path().lexically_relative(root).string());
  }
  return found;
}

std::string HubCache::list_path(const std::string& commit) const {
  return fmt::format("{}/{}/rlcpp-files/{}.json", root_, folder_, commit);
}

std::optional<std::vector<std::string>> HubCache::list(const std::string& commit) const {
  std::error_code ignored;
  if (!fs::is_regular_file(list_path(commit), ignored)) return std::nullopt;
  const auto text = parse_json(durable::read_file(list_path(commit)));
  // What is no list of ours is asked for again.
  if (!text.is_array()) return std::nullopt;
  std::vector<std::string> names;
  for (const auto& name : text) {
    if (!name.is_string() || !is_repository_path(name.get_ref<const std::string&>())) return std::nullopt;
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::string HubCache::blob(const std::string& etag) const {
  return fmt::format("{}/{}/blobs/{}", root_, folder_, etag);
}

void HubCache::prepare() const {
  for (const std::string& path :
       {fmt::format("{}/{}/blobs", root_, folder_), fmt::format("{}/{}/refs", root_, folder_),
        fmt::format("{}/{}/snapshots", root_, folder_), fmt::format("{}/{}/rlcpp-files", root_, folder_),
        fmt::format("{}/.locks/{}", root_, folder_)}) {
    std::error_code error;
    fs::create_directories(path, error);
    require_done(error, "make directory", path);
  }
}

void HubCache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  RLCPP_CHECK(is_repository_path(file) && is_etag(etag) && is_commit(commit));
  const fs::path path = fs::path(snapshot(commit)) / file;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  require_done(error, "make directory", path.parent_path().string());
  // From the file's folder up to the repository's: one level more than the file has folders.
  std::string up = "../../";
  for (std::ptrdiff_t i = std::count(file.begin(), file.end(), '/'); i > 0; --i) up += "../";
  // Of this call alone, whoever else links the same file.
  static std::atomic<int> calls{0};
  const std::string fresh = fmt::format("{}.tmp-{}-{}", path.string(), getpid(), calls++);
  fs::remove(fresh, error);
  fs::create_symlink(up + "blobs/" + etag, fresh, error);
  require_done(error, "link", fresh);
  fs::rename(fresh, path, error);
  require_done(error, "rename", path.string());
}

void HubCache::set_commit(const std::string& commit) const {
  if (is_commit(revision_)) return;
  const std::string path = fmt::format("{}/{}/refs/{}", root_, folder_, revision_);
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  require_done(error, "make directory", path);
  durable::write_file(durable::system_files(), path, commit);
}

void HubCache::set_list(const std::string& commit, const std::vector<std::string>& names) const {
  durable::write_file(durable::system_files(), list_path(commit), nlohmann::json(names).dump());
}

HubCache::Lock::Lock(const HubCache& cache, const std::string& etag, std::chrono::milliseconds limit,
                     const std::function<void(const std::string&)>& note) {
  const std::string path = fmt::format("{}/.locks/{}/{}.lock", cache.root_, cache.folder_, etag);
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) throw durable::file_error("open", path, errno);
  using Clock = std::chrono::steady_clock;
  auto last_growth = Clock::now();
  std::uintmax_t size = 0;
  bool noted = false;
  while (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      const int error = errno;
      close(fd_);
      throw durable::file_error("lock", path, error);
    }
    std::error_code ignored;
    const std::uintmax_t now = fs::file_size(cache.incomplete(etag), ignored);
    if (!ignored && now != size) {
      size = now;
      last_growth = Clock::now();
    }
    if (!std::exchange(noted, true) && note)
      note("waiting for another process that downloads " + cache.blob(etag));
    if (Clock::now() - last_growth > limit) {
      close(fd_);
      throw environment_error("another process holds " + path + " and its download does not grow",
                              fmt::format("waited {} s", limit.count() / 1000),
                              "end that process, then start this one again");
    }
    try {
      pause_unless_stopped(std::chrono::milliseconds(50), cache.blob(etag));
    } catch (...) {
      close(fd_);
      throw;
    }
  }
}

HubCache::Lock::~Lock() {
  close(fd_);
}

}  // namespace rlcpp::hub
