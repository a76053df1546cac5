#include "base/durable_shared.h"

#include <algorithm>

#include <fmt/format.h>

namespace rlcpp::durable {

std::vector<Segment> segments_of(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::vector<Segment> out;
  while (!bytes.empty()) {
    const std::size_t part = std::min<std::uint64_t>(bytes.size(), kChunkBytes - offset % kChunkBytes);
    out.push_back({offset, part, crc32c(bytes.first(part))});
    offset += part;
    bytes = bytes.subspan(part);
  }
  return out;
}

std::vector<std::uint32_t> chunk_checksums(const std::string& name, std::uint64_t size,
                                           std::vector<Segment> segments) {
  std::ranges::sort(segments, {}, &Segment::offset);
  std::vector<std::uint32_t> out((size + kChunkBytes - 1) / kChunkBytes, 0);
  std::uint64_t at = 0;
  const auto broken = [&](std::string_view what) {
    return environment_error(fmt::format("{}: bytes from {} on were {}", name, at, what),
                             "the processes of the run do not agree on who stores what",
                             "this is an error of rlcpp: please report it with the configuration");
  };
  for (const Segment& segment : segments) {
    if (segment.bytes == 0) continue;
    if (segment.offset > at) throw broken("stored by nobody");
    if (segment.offset < at || segment.offset + segment.bytes > size) throw broken("stored twice");
    const std::uint64_t chunk = at / kChunkBytes;
    RLCPP_CHECK((at + segment.bytes - 1) / kChunkBytes == chunk);
    std::uint32_t& crc = out[chunk];
    crc = at % kChunkBytes == 0 ? segment.crc : crc32c_combine(crc, segment.crc, segment.bytes);
    at += segment.bytes;
  }
  if (at != size) throw broken("stored by nobody");
  return out;
}

void SharedFile::finish() {
  files_.sync(file_.fd());
  file_.close();
}

}  // namespace rlcpp::durable
