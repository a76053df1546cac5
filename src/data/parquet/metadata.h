// What the footer and the page headers of a Parquet file say (apache/parquet-format, parquet.thrift).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rlcpp::data::parquet {

enum class Physical : std::uint8_t {
  kBoolean = 0,
  kInt32 = 1,
  kInt64 = 2,
  kInt96 = 3,
  kFloat = 4,
  kDouble = 5,
  kByteArray = 6,
  kFixed = 7
};
enum class Repetition : std::uint8_t { kRequired = 0, kOptional = 1, kRepeated = 2 };
// What a column or a group means, as far as it changes how its values are written as JSON.
enum class Meaning : std::uint8_t { kPlain, kText, kList, kMap, kUnsigned, kDecimal, kOther };
enum class Codec : std::uint8_t { kNone = 0, kSnappy = 1, kGzip = 2, kZstd = 6 };
enum class Encoding : std::uint8_t {
  kPlain = 0,
  kPlainDictionary = 2,
  kRle = 3,
  kDeltaBinary = 5,
  kDeltaLength = 6,
  kDeltaBytes = 7,
  kDictionary = 8,
  kByteStreamSplit = 9
};

// A node of the schema, with the levels of Dremel (Melnik et al. 2010): how many optional or repeated nodes
// lie on the way to it, itself included, and how many repeated ones.
struct Node {
  std::string name;
  Repetition repetition = Repetition::kRequired;
  Meaning meaning = Meaning::kPlain;
  Physical type = Physical::kBoolean;  // of a leaf
  std::int64_t type_length = 0;        // of kFixed, bytes
  std::int64_t scale = 0;              // of kDecimal: digits behind the point
  int max_definition = 0;
  int max_repetition = 0;
  int leaf = -1;  // number of the column; -1: a group
  std::vector<Node> children;
};

struct ColumnChunk {
  Codec codec = Codec::kNone;
  std::int64_t values = 0;  // entries: values, nulls and empty lists
  std::int64_t begin = 0;   // of the first page in the file
  std::int64_t size = 0;    // of all pages with their headers
};

struct RowGroup {
  std::int64_t rows = 0;
  std::vector<ColumnChunk> columns;  // one a leaf
};

struct Metadata {
  Node root;
  std::vector<const Node*> leaves;  // into root
  std::vector<RowGroup> groups;
};

struct PageHeader {
  enum class Kind : std::uint8_t { kData, kDictionary, kDataV2, kOther } kind = Kind::kOther;
  std::int64_t size = 0, packed_size = 0;
  std::int64_t values = 0;
  Encoding encoding = Encoding::kPlain;
  std::int64_t definition_bytes = 0, repetition_bytes = 0;  // kDataV2
  bool packed = true;                                       // kDataV2
  std::size_t header_size = 0;                              // bytes that the header itself took
};

// `file`: all bytes. Throws bad_input naming `where`: no Parquet file, damaged, encrypted, a codec that is
// not known.
Metadata read_metadata(std::string_view file, const std::string& where);

// The header at the beginning of `bytes`.
PageHeader read_page_header(std::string_view bytes, const std::string& where);

}  // namespace rlcpp::data::parquet
