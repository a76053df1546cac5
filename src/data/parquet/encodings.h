// Encodings of levels and values (apache/parquet-format, Encodings.md). All are bounds-checked: they throw
// bad_input naming `where` for bytes that end early or make no sense.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::data::parquet {

// Takes bytes from the front of a view.
class Bytes {
 public:
  Bytes(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
  std::string_view take(std::size_t count);
  std::uint64_t little_endian(std::size_t count);
  std::uint64_t varint();
  std::int64_t zigzag();
  std::size_t left() const { return bytes_.size() - at_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void damaged(const std::string& why) const;

 private:
  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
};

// RLE and bit-packed runs mixed: `count` values of `bits` bits (0 to 32).
std::vector<std::uint32_t> decode_hybrid(Bytes& in, int bits, std::size_t count);
// DELTA_BINARY_PACKED, at most `most` values.
std::vector<std::int64_t> decode_delta(Bytes& in, std::size_t most);
// DELTA_LENGTH_BYTE_ARRAY, whose texts lie in the bytes, and DELTA_BYTE_ARRAY, whose texts share beginnings.
std::vector<std::string_view> decode_delta_lengths(Bytes& in, std::size_t most);
std::vector<std::string> decode_delta_texts(Bytes& in, std::size_t most);

}  // namespace rlcpp::data::parquet
