// SHA-1 and SHA-256 (FIPS 180-4), by which the hub names files: git's blob ids and LFS's object ids.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rlcpp::hub {

enum class DigestKind : std::uint8_t { kSha1, kSha256 };

// Bytes in, digest out.
class Digest {
 public:
  explicit Digest(DigestKind kind);
  void update(std::span<const std::byte> bytes);
  std::string hex();  // of all bytes so far; nothing may be added afterwards

 private:
  void block(const std::byte* bytes);

  DigestKind kind_;
  std::array<std::uint32_t, 8> state_{};
  std::array<std::byte, 64> held_{};
  std::size_t held_bytes_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace rlcpp::hub
