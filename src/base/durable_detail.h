// Shared by the parts of the durable-file layer; nobody else includes it.
#pragma once

#include <string>
#include <utility>

#include "base/durable.h"

namespace rlcpp::durable::detail {

// "." for a bare name.
std::string parent_of(const std::string& path);
// Twelve hexadecimal digits, so that names of a process that was killed are never met again.
std::string random_suffix();

// A descriptor that an exception must not leak. close() reports errors; the destructor cannot.
class OpenFile {
 public:
  OpenFile(FileLayer& files, int fd) : files_(files), fd_(fd) {}
  ~OpenFile() {
    if (fd_ < 0) return;
    try {
      files_.close(fd_);
    } catch (const Error&) {  // the first error is on its way already
    }
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }
  void close() { files_.close(std::exchange(fd_, -1)); }

 private:
  FileLayer& files_;
  int fd_;
};

// What manifest.json of a committed directory says.
struct FileEntry {
  std::string name;
  std::uint64_t size = 0;
  std::vector<std::uint32_t>
      chunk_crcs;  // one for each kChunkBytes, the last one short; none for an empty file
};
struct Manifest {
  std::string run_id;
  std::string facts_json;  // an object
  std::vector<FileEntry> files;
};

// True if `name` stays inside its directory: relative, no empty part, no "." or "..", not the manifest.
bool is_inner_name(const std::string& name);

std::string render_manifest(const Manifest& manifest);
// Throws bad_input naming `path` and, where there is one, the offset. Every changed byte is found: the text
// ends with a checksum of all that stands before it.
Manifest parse_manifest(const std::string& path, const std::string& text);

}  // namespace rlcpp::durable::detail
