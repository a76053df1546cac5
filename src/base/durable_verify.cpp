// Reading back: which directories are complete, and what exactly is wrong with the others.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "base/durable_detail.h"

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
  ssize_t read(std::span<std::byte> into) const {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t got = ::read(fd_, into.data() + done, into.size() - done);
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

void verify_file(const std::string& path, const detail::FileEntry& entry, bool checksums) {
  const ReadOnlyFile file(path);
  if (const std::uint64_t size = file.size(); size != entry.size) {
    throw damaged(
        path, fmt::format("it has {} bytes, the manifest says {}: the difference begins at offset {}", size,
                          entry.size, std::min(size, entry.size)));
  }
  if (!checksums) return;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kChunkBytes, entry.size));
  for (std::size_t chunk = 0; chunk < entry.chunk_crcs.size(); ++chunk) {
    const std::uint64_t offset = chunk * kChunkBytes;
    const std::span<std::byte> part =
        std::span(buffer).first(std::min<std::uint64_t>(kChunkBytes, entry.size - offset));
    const ssize_t got = file.read(part);
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
  }
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

std::string verify_directory(const std::string& path, bool checksums) {
  const std::string manifest_path = path + "/" + kManifestName;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) throw damaged(path, "it is not a directory");
  if (!fs::exists(manifest_path, ignored)) throw damaged(path, std::string("it has no ") + kManifestName);
  const detail::Manifest manifest = detail::parse_manifest(manifest_path, read_file(manifest_path));
  for (const detail::FileEntry& entry : manifest.files)
    verify_file(path + "/" + entry.name, entry, checksums);
  return manifest.facts_json;
}

std::vector<std::int64_t> committed_steps(const std::string& root, std::vector<std::string>* skipped,
                                          bool checksums) {
  std::vector<std::int64_t> steps = named_steps(root, skipped);
  std::erase_if(steps,
                [&](std::int64_t step) { return !verified(step_path(root, step), checksums, skipped); });
  return steps;
}

std::optional<std::int64_t> newest_step(const std::string& root, std::vector<std::string>* skipped) {
  const std::vector<std::int64_t> steps = named_steps(root, skipped);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (verified(step_path(root, *step), true, skipped)) return *step;
  }
  return std::nullopt;
}

}  // namespace rlcpp::durable
