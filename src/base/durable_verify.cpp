// Reading back: which directories are complete, and what exactly is wrong with the others.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <exception>
#include <filesystem>
#include <list>
#include <map>
#include <system_error>
#include <thread>

#include "base/durable_detail.h"
#include "base/thread_pool.h"

namespace rlcpp::durable {
namespace {

namespace fs = std::filesystem;

Error damaged(const std::string& file, const std::string& because) {
  return bad_input(
      file + " does not verify", because,
      "this directory is damaged or not complete: use an older one, or copy it again from its source");
}

class ReadOnlyFile {
 public:
  explicit ReadOnlyFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) {
      throw damaged(path, "it cannot be opened: " + std::generic_category().message(errno));
    }
  }
  ~ReadOnlyFile() { ::close(fd_); }
  ReadOnlyFile(const ReadOnlyFile&) = delete;
  ReadOnlyFile& operator=(const ReadOnlyFile&) = delete;

  std::uint64_t size() const {
    struct stat status {};
    return ::fstat(fd_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }
  // Reads until `into` is full or the file ends; returns the number of bytes, or -1 with errno.
  ssize_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t got =
          ::pread(fd_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return static_cast<ssize_t>(done);
  }

 private:
  int fd_;
};

// A file of a committed directory, open, its size compared with the manifest.
struct OpenedFile {
  OpenedFile(const std::string& file_path, const detail::FileEntry& file_entry)
      : path(file_path), entry(file_entry), file(file_path) {
    if (const std::uint64_t size = file.size(); size != entry.size) {
      throw damaged(
          path, fmt::format("it has {} bytes, the manifest says {}: the difference begins at offset {}", size,
                            entry.size, std::min(size, entry.size)));
    }
  }

  std::size_t read(std::uint64_t chunk, std::span<std::byte> into) const {
    RLCPP_CHECK(chunk < entry.chunk_crcs.size());
    const std::uint64_t offset = chunk * kChunkBytes;
    const std::span<std::byte> part = into.first(std::min<std::uint64_t>(kChunkBytes, entry.size - offset));
    const ssize_t got = file.read_at(offset, part);
    if (got < 0) {
      throw damaged(path, fmt::format("reading at offset {} fails: {}", offset,
                                      std::generic_category().message(errno)));
    }
    if (static_cast<std::size_t>(got) != part.size()) {
      throw damaged(path, fmt::format("it ends at offset {} while being read",
                                      offset + static_cast<std::uint64_t>(got)));
    }
    if (const std::uint32_t crc = crc32c(part); crc != entry.chunk_crcs[chunk]) {
      throw damaged(path,
                    fmt::format("the {} bytes at offset {} have checksum {:08x}, the manifest says {:08x}",
                                part.size(), offset, crc, entry.chunk_crcs[chunk]));
    }
    return part.size();
  }

  std::string path;
  const detail::FileEntry& entry;
  ReadOnlyFile file;
};

// Below this a second thread is not worth its start.
constexpr std::uint64_t kBytesPerThread = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostThreads = 8;

// Every chunk of every file, in the order of the manifest.
void verify_chunks(const std::list<OpenedFile>& files) {
  std::vector<std::pair<const OpenedFile*, std::uint64_t>> chunks;
  std::uint64_t bytes = 0;
  for (const OpenedFile& file : files) {
    bytes += file.entry.size;
    for (std::uint64_t chunk = 0; chunk < file.entry.chunk_crcs.size(); ++chunk)
      chunks.emplace_back(&file, chunk);
  }
  const std::uint64_t cores = std::max(1U, std::thread::hardware_concurrency());
  ThreadPool pool(
      static_cast<int>(std::clamp<std::uint64_t>(bytes / kBytesPerThread, 1, std::min(kMostThreads, cores))));
  const auto batch = static_cast<std::int64_t>(pool.size());
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(batch));
  for (auto& buffer : buffers) buffer.resize(std::min<std::uint64_t>(kChunkBytes, bytes));
  std::atomic<bool> failed = false;
  std::atomic<std::size_t> next = 0;
  // Chunks are taken in order, so all before a damaged one have been begun: the first fault is the one named.
  std::vector<std::pair<std::size_t, std::exception_ptr>> faults(static_cast<std::size_t>(batch));
  pool.parallel_for(batch, [&](std::int64_t task) {
    const auto own = static_cast<std::size_t>(task);
    while (!failed) {
      const std::size_t at = next.fetch_add(1);
      if (at >= chunks.size()) return;
      try {
        chunks[at].first->read(chunks[at].second, buffers[own]);
      } catch (const Error&) {
        faults[own] = {at, std::current_exception()};
        failed = true;
      }
    }
  });
  const std::pair<std::size_t, std::exception_ptr>* first = nullptr;
  for (const auto& fault : faults) {
    if (fault.second && (first == nullptr || fault.first < first->first)) first = &fault;
  }
  if (first != nullptr) std::rethrow_exception(first->second);
}

// The N of "step_N", or nothing: other names are not ours.
std::optional<std::int64_t> step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  std::int64_t step = 0;
  const auto [stop, code] = std::from_chars(begin, end, step);
  if (code != std::errc() || stop != end || step < 0 ||
      std::to_string(step).size() != name.size() - kPrefix.size()) {
    return std::nullopt;
  }
  return step;
}

// Steps by name alone, ascending; "step_12.tmp-..." and the like go to `skipped`.
std::vector<std::int64_t> named_steps(const std::string& root, std::vector<std::string>* skipped) {
  std::vector<std::int64_t> steps;
  std::vector<std::string> others;
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (const auto step = step_of(name)) {
      steps.push_back(*step);
    } else if (name.starts_with("step_")) {
      others.push_back(at->path().string() + ": not a committed name");
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) throw file_error("list", root, error.value());
  std::sort(steps.begin(), steps.end());
  std::sort(others.begin(), others.end());
  if (skipped != nullptr) skipped->insert(skipped->end(), others.begin(), others.end());
  return steps;
}

bool verified(const std::string& path, bool checksums, std::vector<std::string>* skipped) {
  try {
    verify_directory(path, checksums);
    return true;
  } catch (const Error& error) {
    if (skipped != nullptr) skipped->push_back(std::string(error.what()) + ": " + error.because());
    return false;
  }
}

std::string step_path(const std::string& root, std::int64_t step) {
  return root + "/step_" + std::to_string(step);
}

}  // namespace

struct VerifiedDirectory::State {
  std::string path;
  detail::Manifest manifest;
  std::list<OpenedFile> files;  // a list: they do not move
  std::map<std::string, const OpenedFile*> by_name;

  const OpenedFile& file(const std::string& name) const {
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      throw bad_input(path + "/" + name + " is missing", "the manifest of the directory does not name it",
                      "use another step, or the version of rlcpp that wrote this one");
    }
    return *found->second;
  }
};

VerifiedDirectory::VerifiedDirectory(const std::string& path) : state_(std::make_unique<State>()) {
  const std::string manifest_path = path + "/" + kManifestName;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) throw damaged(path, "it is not a directory");
  if (!fs::exists(manifest_path, ignored)) throw damaged(path, std::string("it has no ") + kManifestName);
  state_->path = path;
  state_->manifest = detail::parse_manifest(manifest_path, read_file(manifest_path));
  for (const detail::FileEntry& entry : state_->manifest.files) {
    state_->files.emplace_back(path + "/" + entry.name, entry);
    state_->by_name[entry.name] = &state_->files.back();
  }
}
VerifiedDirectory::~VerifiedDirectory() = default;
VerifiedDirectory::VerifiedDirectory(VerifiedDirectory&&) noexcept = default;

const std::string& VerifiedDirectory::path() const {
  return state_->path;
}
const std::string& VerifiedDirectory::facts() const {
  return state_->manifest.facts_json;
}
std::vector<std::string> VerifiedDirectory::files() const {
  std::vector<std::string> names;
  for (const detail::FileEntry& entry : state_->manifest.files) names.push_back(entry.name);
  return names;
}
std::uint64_t VerifiedDirectory::size(const std::string& name) const {
  return state_->file(name).entry.size;
}
std::size_t VerifiedDirectory::read(const std::string& name, std::uint64_t chunk,
                                    std::span<std::byte> into) const {
  return state_->file(name).read(chunk, into);
}
std::string VerifiedDirectory::read_all(const std::string& name) const {
  const OpenedFile& file = state_->file(name);
  std::string text(file.entry.size, '\0');
  const auto bytes = std::as_writable_bytes(std::span(text));
  for (std::uint64_t chunk = 0; chunk < file.entry.chunk_crcs.size(); ++chunk)
    file.read(chunk, bytes.subspan(chunk * kChunkBytes));
  return text;
}
void VerifiedDirectory::verify() const {
  verify_chunks(state_->files);
}

std::string verify_directory(const std::string& path, bool checksums) {
  const VerifiedDirectory directory(path);
  if (checksums) directory.verify();
  return directory.facts();
}

std::vector<std::int64_t> committed_steps(const std::string& root, std::vector<std::string>* skipped,
                                          bool checksums) {
  std::vector<std::int64_t> steps = named_steps(root, skipped);
  std::erase_if(steps,
                [&](std::int64_t step) { return !verified(step_path(root, step), checksums, skipped); });
  return steps;
}

std::optional<std::int64_t> newest_step(const std::string& root, std::vector<std::string>* skipped,
                                        bool checksums) {
  const std::vector<std::int64_t> steps = named_steps(root, skipped);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (verified(step_path(root, *step), checksums, skipped)) return *step;
  }
  return std::nullopt;
}

}  // namespace rlcpp::durable
