#include "data/parquet/thrift.h"

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::data::parquet {

void ThriftReader::damaged() const {
  throw bad_input(fmt::format("{} is a damaged Parquet file", where_),
                  fmt::format("its metadata make no sense at byte {} of {}", at_, bytes_.size()),
                  "download or write it again");
}

ThriftReader::Depth::Depth(ThriftReader& r) : reader(r) {
  constexpr int kDeepest = 64;
  if (reader.depth_ >= kDeepest) reader.damaged();
  ++reader.depth_;
}

std::uint8_t ThriftReader::byte() {
  if (at_ >= bytes_.size()) damaged();
  return static_cast<std::uint8_t>(bytes_[at_++]);
}

std::uint64_t ThriftReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint8_t next = byte();
    value |= static_cast<std::uint64_t>(next & 0x7F) << shift;
    if (next < 0x80) return value;
  }
  damaged();
}

std::int64_t ThriftReader::integer() {
  const std::uint64_t value = varint();
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

std::string_view ThriftReader::binary() {
  const std::uint64_t size = varint();
  if (size > bytes_.size() - at_) damaged();
  const std::string_view out = bytes_.substr(at_, size);
  at_ += size;
  return out;
}

bool ThriftReader::next_field(int& id, Type& type) {
  const std::uint8_t head = byte();
  if (head == 0) return false;
  type = static_cast<Type>(head & 0x0F);
  const std::int64_t next = (head >> 4) != 0 ? id + (head >> 4) : integer();
  if (next < 0 || next > 0x7FFF) damaged();
  id = static_cast<int>(next);
  return true;
}

std::size_t ThriftReader::list_header(Type& type) {
  const std::uint8_t head = byte();
  type = static_cast<Type>(head & 0x0F);
  const std::uint64_t size = (head >> 4) == 15 ? varint() : head >> 4;
  if (size > bytes_.size() - at_) damaged();  // every element takes a byte or more
  return size;
}

void ThriftReader::skip(Type type) {
  switch (type) {
    case Type::kTrue:
    case Type::kFalse:
      return;
    case Type::kByte:
      byte();
      return;
    case Type::kI16:
    case Type::kI32:
    case Type::kI64:
      varint();
      return;
    case Type::kDouble:
      for (int i = 0; i < 8; ++i) byte();
      return;
    case Type::kBinary:
      binary();
      return;
    case Type::kList:
    case Type::kSet:
      list([&](Type element) {
        // Inside a list a boolean is a byte of its own.
        if (element == Type::kTrue || element == Type::kFalse) {
          byte();
        } else {
          skip(element);
        }
      });
      return;
    case Type::kStruct:
      structure([&](int, Type field) { skip(field); });
      return;
    case Type::kMap:
      break;  // Parquet's metadata have none
  }
  damaged();
}

}  // namespace rlcpp::data::parquet
