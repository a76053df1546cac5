#include "dist/address.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

#include "base/durable.h"
#include "base/error.h"

namespace rlcpp::dist {
namespace {

constexpr std::string_view kFile = "file:";

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool locked_by_another(int fd) {
  return ::flock(fd, LOCK_EX | LOCK_NB) != 0;
}

Error waits_already(const std::string& path) {
  return bad_input(fmt::format("the process 0 of another run waits at file:{} already", path),
                   "one run meets at a place at a time",
                   "name another file with --dist.address file:PATH, or end the other run");
}

}  // namespace

Address parse_address(const std::string& text) {
  Address out;
  if (text.starts_with(kFile)) {
    out.file = text.substr(kFile.size());
    if (!out.file.empty() && out.file.back() != '/') return out;
    throw bad_input(fmt::format("the address \"{}\" where the ranks meet names no file", text), "",
                    "use --dist.address file:PATH with a file in a folder of yours");
  }
  const std::size_t colon = text.rfind(':');
  bool good = colon != std::string::npos && colon > 0;
  if (good) {
    const char* end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data() + colon + 1, end, out.port);
    good = code == std::errc() && stop == end && out.port >= 1 && out.port <= 65535;
    out.host = text.substr(0, colon);
    if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']')
      out.host = out.host.substr(1, out.host.size() - 2);
    good = good && out.host.find_first_of(" \t/") == std::string::npos;
  }
  if (!good) {
    throw bad_input(fmt::format("the address \"{}\" where the ranks meet has not the form HOST:PORT", text),
                    "the port is a number from 1 to 65535",
                    "use --dist.address HOST:PORT, or --dist.address file:PATH on one machine");
  }
  return out;
}

std::string own_meeting_folder() {
  return fmt::format("/tmp/rlcpp-{}", ::getuid());
}

void require_meeting_folder(const Address& address) {
  if (address.file.empty()) return;
  const std::string folder = folder_of(address.file);
  if (folder == own_meeting_folder()) ::mkdir(folder.c_str(), 0700);
  struct stat facts {};
  if (::lstat(folder.c_str(), &facts) != 0) {
    throw bad_input(fmt::format("the folder {} of the file where the ranks meet is not there", folder), "",
                    "make it, or name another with --dist.address file:PATH");
  }
  if (S_ISDIR(facts.st_mode) && facts.st_uid == ::getuid() && (facts.st_mode & 022) == 0) return;
  throw environment_error(
      fmt::format("the folder {} of the file where the ranks meet cannot be used", folder),
      "it must be a folder of this user that nobody else may write",
      "name another with --dist.address file:PATH");
}

MeetingFile::MeetingFile(std::string path, int port, const std::string& password) : path_(std::move(path)) {
  if (const int there = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW); there >= 0) {
    const bool taken = locked_by_another(there);
    ::close(there);
    if (taken) throw waits_already(path_);
  }
  durable::write_file(durable::system_files(), path_, fmt::format("{} {}\n", port, password));
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd_ >= 0 && !locked_by_another(fd_) && ours()) return;
  // Another process 0 wrote its own within the same moment; it stays.
  if (fd_ >= 0) ::close(fd_);
  throw waits_already(path_);
}

MeetingFile::~MeetingFile() {
  if (ours()) ::unlink(path_.c_str());
  ::close(fd_);
}

bool MeetingFile::ours() const {
  struct stat held {
  }, there{};
  return ::fstat(fd_, &held) == 0 && ::stat(path_.c_str(), &there) == 0 && held.st_ino == there.st_ino &&
         held.st_dev == there.st_dev;
}

std::optional<MeetingFile::Content> MeetingFile::read(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0 || facts.st_uid != ::getuid()) return std::nullopt;
  std::string text;
  try {
    text = durable::read_file(path);
  } catch (const Error&) {
    return std::nullopt;  // taken away between the two
  }
  Content out;
  out.port = std::atoi(text.c_str());
  const std::size_t space = text.find(' ');
  if (out.port < 1 || space == std::string::npos) return std::nullopt;
  out.password = text.substr(space + 1, text.find('\n') - space - 1);
  return out;
}

}  // namespace rlcpp::dist
