// Thrift's compact protocol, as far as Parquet's metadata uses it (apache/thrift,
// doc/specs/thrift-compact-protocol.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rlcpp::data::parquet {

// Reads values in the order in which they lie. Throws bad_input naming `where` where the bytes end or make no
// sense.
class ThriftReader {
 public:
  enum class Type : std::uint8_t {
    kTrue = 1,
    kFalse = 2,
    kByte = 3,
    kI16 = 4,
    kI32 = 5,
    kI64 = 6,
    kDouble = 7,
    kBinary = 8,
    kList = 9,
    kSet = 10,
    kMap = 11,
    kStruct = 12
  };

  ThriftReader(std::string_view bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  // Calls field(id, type) for each field of a struct; it reads the field's value, or has skip() do it.
  template <class Field>
  void structure(Field&& field) {
    const Depth depth(*this);
    int id = 0;
    Type type = Type::kTrue;
    while (next_field(id, type)) field(id, type);
  }
  // Calls element(type) for each element of a list.
  template <class Element>
  void list(Element&& element) {
    const Depth depth(*this);
    Type type = Type::kTrue;
    for (std::size_t left = list_header(type); left > 0; --left) element(type);
  }
  std::int64_t integer();  // of any width
  std::string_view binary();
  static bool boolean(Type type) { return type == Type::kTrue; }  // of a field
  void skip(Type type);

  std::size_t position() const { return at_; }

 private:
  struct Depth {  // of structs and lists: bounded, since damaged bytes could nest without end
    explicit Depth(ThriftReader& reader);
    ~Depth() { --reader.depth_; }
    ThriftReader& reader;
  };
  bool next_field(int& id, Type& type);
  std::size_t list_header(Type& type);
  std::uint64_t varint();
  std::uint8_t byte();
  [[noreturn]] void damaged() const;

  std::string_view bytes_, where_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace rlcpp::data::parquet
