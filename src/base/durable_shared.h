// A directory whose files several processes write together, on a file system that all of them see. One makes
// it (AtomicDirectory) and the empty files; each stores bytes of its own and syncs them; then the one that
// made it puts the checksums of all together and commits.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/durable.h"
#include "base/durable_detail.h"

namespace rlcpp::durable {

// Bytes of a file that somebody has stored. They lie in one chunk.
struct Segment {
  std::uint64_t offset = 0, bytes = 0;
  std::uint32_t crc = 0;
  bool operator==(const Segment&) const = default;
};

// The checksums of `bytes`, which belong at `offset`, cut where chunks end.
std::vector<Segment> segments_of(std::uint64_t offset, std::span<const std::byte> bytes);

// The checksum of each chunk of a file, from segments in any order. Throws environment_error naming the file
// and the offset where bytes are missing or were stored twice.
std::vector<std::uint32_t> chunk_checksums(const std::string& name, std::uint64_t size,
                                           std::vector<Segment> segments);

// A file that another process has made. Several threads may write; errors as those of FileLayer.
class SharedFile {
 public:
  SharedFile(FileLayer& files, const std::string& path)
      : files_(files), file_(files, files.open_there(path)) {}
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    files_.write_at(file_.fd(), offset, bytes);
  }
  void finish();  // syncs and closes

 private:
  FileLayer& files_;
  detail::OpenFile file_;
};

}  // namespace rlcpp::durable
