#include "data/parquet/metadata.h"

#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "data/parquet/thrift.h"

namespace rlcpp::data::parquet {
namespace {

using Type = ThriftReader::Type;

Error damaged(const std::string& where, const std::string& why) {
  return bad_input(fmt::format("{} is a damaged Parquet file", where), why, "download or write it again");
}

struct SchemaElement {
  Node node;
  bool is_group = false;
  std::int64_t children = 0;
};

Meaning meaning_of_converted(std::int64_t converted) {
  switch (converted) {
    case 0:   // UTF8
    case 4:   // ENUM
    case 19:  // JSON
      return Meaning::kText;
    case 1:
    case 2:
      return Meaning::kMap;
    case 3:
      return Meaning::kList;
    case 5:
      return Meaning::kDecimal;
    case 11:
    case 12:
    case 13:
    case 14:
      return Meaning::kUnsigned;
    case 15:
    case 16:
    case 17:
    case 18:
      return Meaning::kPlain;
    default:
      return Meaning::kOther;
  }
}

// The union LogicalType: its only field says what it is.
Meaning read_logical_type(ThriftReader& in) {
  Meaning meaning = Meaning::kOther;
  in.structure([&](int id, Type type) {
    if (id == 10 && type == Type::kStruct) {  // INTEGER: 2 isSigned
      meaning = Meaning::kPlain;
      in.structure([&](int field, Type kind) {
        if (field == 2 && kind == Type::kFalse) meaning = Meaning::kUnsigned;
        in.skip(kind);
      });
      return;
    }
    if (id == 1 || id == 4 || id == 12) meaning = Meaning::kText;
    if (id == 2) meaning = Meaning::kMap;
    if (id == 3) meaning = Meaning::kList;
    if (id == 5) meaning = Meaning::kDecimal;  // its scale is also in the element itself
    in.skip(type);
  });
  return meaning;
}

SchemaElement read_schema_element(ThriftReader& in, const std::string& where) {
  SchemaElement out;
  bool has_type = false, has_logical = false;
  in.structure([&](int id, Type type) {
    const bool integer = type == Type::kI32;
    if (id == 1 && integer) {
      const std::int64_t value = in.integer();
      if (value < 0 || value > 7) throw damaged(where, fmt::format("a column has the type {}", value));
      out.node.type = static_cast<Physical>(value);
      has_type = true;
    } else if (id == 2 && integer) {
      out.node.type_length = in.integer();
    } else if (id == 3 && integer) {
      const std::int64_t value = in.integer();
      if (value < 0 || value > 2) throw damaged(where, fmt::format("a column has the repetition {}", value));
      out.node.repetition = static_cast<Repetition>(value);
    } else if (id == 4 && type == Type::kBinary) {
      out.node.name = in.binary();
    } else if (id == 5 && integer) {
      out.children = in.integer();
      out.is_group = true;
    } else if (id == 6 && integer) {
      const Meaning meaning = meaning_of_converted(in.integer());
      if (!has_logical) out.node.meaning = meaning;
    } else if (id == 7 && integer) {
      out.node.scale = in.integer();
    } else if (id == 10 && type == Type::kStruct) {
      out.node.meaning = read_logical_type(in);
      has_logical = true;
    } else {
      in.skip(type);
    }
  });
  // The type is left out for groups; the number of children, for leaves.
  if (has_type) out.is_group = false;
  if (!has_type && !out.is_group)
    throw damaged(where, fmt::format("the column {} has no type", out.node.name));
  return out;
}

// Nodes lie depth first. A schema of a million nested groups would exhaust the stack.
Node build(std::vector<SchemaElement>& flat, std::size_t& at, const Node* parent, int depth, int& leaves,
           const std::string& where) {
  constexpr int kDeepest = 64;
  if (at >= flat.size() || depth > kDeepest) throw damaged(where, "its schema does not hold together");
  SchemaElement& element = flat[at++];
  Node node = std::move(element.node);
  if (parent != nullptr) {
    node.max_definition = parent->max_definition + (node.repetition != Repetition::kRequired ? 1 : 0);
    node.max_repetition = parent->max_repetition + (node.repetition == Repetition::kRepeated ? 1 : 0);
  }
  if (!element.is_group) {
    node.leaf = leaves++;
    return node;
  }
  for (std::int64_t i = 0; i < element.children; ++i)
    node.children.push_back(build(flat, at, &node, depth + 1, leaves, where));
  // Nobody could say whether a group without columns is there.
  if (node.children.empty()) throw damaged(where, fmt::format("the group {} has no columns", node.name));
  return node;
}

void collect_leaves(const Node& node, std::vector<const Node*>& out) {
  if (node.leaf >= 0) out.push_back(&node);
  for (const Node& child : node.children) collect_leaves(child, out);
}

Codec codec_of(std::int64_t value, const std::string& where) {
  if (value == 0 || value == 1 || value == 2 || value == 6) return static_cast<Codec>(value);
  const char* name = value == 3                 ? "LZO"
                     : value == 4               ? "Brotli"
                     : value == 5 || value == 7 ? "LZ4"
                                                : "an unknown codec";
  throw bad_input(fmt::format("{} is compressed with {}, which rlcpp does not read", where, name), {},
                  "write it with snappy, gzip, zstd or without compression");
}

ColumnChunk read_column(ThriftReader& in, const std::string& where) {
  ColumnChunk out;
  std::int64_t data = -1, dictionary = -1, codec = 0;
  bool has_metadata = false;
  in.structure([&](int id, Type type) {
    if (id == 1)
      throw bad_input(fmt::format("{} keeps its columns in other files", where), {}, "write one file");
    if (id == 8) throw bad_input(fmt::format("{} is encrypted", where), {}, "write it without encryption");
    if (id != 3 || type != Type::kStruct) return in.skip(type);
    has_metadata = true;
    in.structure([&](int field, Type kind) {
      const bool integer = kind == Type::kI32 || kind == Type::kI64;
      if (field == 4 && integer) {
        codec = in.integer();
      } else if (field == 5 && integer) {
        out.values = in.integer();
      } else if (field == 7 && integer) {
        out.size = in.integer();
      } else if (field == 9 && integer) {
        data = in.integer();
      } else if (field == 11 && integer) {
        dictionary = in.integer();
      } else {
        in.skip(kind);
      }
    });
  });
  if (!has_metadata) throw damaged(where, "a column has no description");
  out.codec = codec_of(codec, where);
  out.begin = dictionary > 0 && dictionary < data ? dictionary : data;  // some writers say 0 for none
  return out;
}

}  // namespace

Metadata read_metadata(std::string_view file, const std::string& where) {
  constexpr std::string_view kMagic = "PAR1";
  if (file.size() < 12 || !file.starts_with(kMagic) || !file.ends_with(kMagic)) {
    if (file.ends_with("PARE"))
      throw bad_input(fmt::format("{} is encrypted", where), {}, "write it without encryption");
    throw bad_input(fmt::format("{} is no Parquet file, or not all of one", where),
                    "it does not begin and end with PAR1", "download or write it again");
  }
  std::uint32_t length = 0;
  std::memcpy(&length, file.data() + file.size() - 8, 4);
  if (length > file.size() - 12)
    throw damaged(where, fmt::format("its footer is said to have {} bytes", length));
  ThriftReader in(file.substr(file.size() - 8 - length, length), where);
  std::vector<SchemaElement> flat;
  Metadata out;
  in.structure([&](int id, Type type) {
    if (id == 8) throw bad_input(fmt::format("{} is encrypted", where), {}, "write it without encryption");
    if (id == 2 && type == Type::kList) {
      in.list([&](Type) { flat.push_back(read_schema_element(in, where)); });
    } else if (id == 4 && type == Type::kList) {
      in.list([&](Type) {
        RowGroup& group = out.groups.emplace_back();
        in.structure([&](int field, Type kind) {
          if (field == 1 && kind == Type::kList) {
            in.list([&](Type) { group.columns.push_back(read_column(in, where)); });
          } else if (field == 3 && (kind == Type::kI64 || kind == Type::kI32)) {
            group.rows = in.integer();
          } else {
            in.skip(kind);
          }
        });
      });
    } else {
      in.skip(type);
    }
  });
  std::size_t at = 0;
  int leaves = 0;
  out.root = build(flat, at, nullptr, 0, leaves, where);
  if (at != flat.size() || out.root.leaf >= 0) throw damaged(where, "its schema does not hold together");
  collect_leaves(out.root, out.leaves);
  const auto end = static_cast<std::int64_t>(file.size());
  for (const RowGroup& group : out.groups) {
    if (group.columns.size() != out.leaves.size() || group.rows < 0)
      throw damaged(where, "a group of rows does not have the columns of the schema");
    for (const ColumnChunk& column : group.columns) {
      if (column.values == 0) continue;  // writers then say anything of where it lies
      if (column.values < 0 || column.begin < 4 || column.begin > end || column.size < 0 ||
          column.size > end - column.begin) {
        throw damaged(where, fmt::format("a column lies at {} with {} bytes, the file has {}", column.begin,
                                         column.size, end));
      }
    }
  }
  return out;
}

PageHeader read_page_header(std::string_view bytes, const std::string& where) {
  ThriftReader in(bytes, where);
  PageHeader out;
  std::int64_t encoding = 0;
  const auto page = [&](bool v2) {
    in.structure([&](int id, Type type) {
      const bool integer = type == Type::kI32;
      const int encoding_field = v2 ? 4 : 2;
      if (id == 1 && integer) {
        out.values = in.integer();
      } else if (id == encoding_field && integer) {
        encoding = in.integer();
      } else if (v2 && id == 5 && integer) {
        out.definition_bytes = in.integer();
      } else if (v2 && id == 6 && integer) {
        out.repetition_bytes = in.integer();
      } else if (v2 && id == 7) {
        out.packed = ThriftReader::boolean(type);
        in.skip(type);
      } else {
        if (!v2 && (id == 3 || id == 4) && integer && in.integer() != 3)
          throw bad_input(
              fmt::format("{} has levels in an encoding that has not been written since 2013", where), {},
              "write it again with a current program");
        if (v2 || (id != 3 && id != 4) || !integer) in.skip(type);
      }
    });
  };
  in.structure([&](int id, Type type) {
    const bool integer = type == Type::kI32;
    if (id == 1 && integer) {
      const std::int64_t kind = in.integer();
      out.kind = kind == 0   ? PageHeader::Kind::kData
                 : kind == 2 ? PageHeader::Kind::kDictionary
                 : kind == 3 ? PageHeader::Kind::kDataV2
                             : PageHeader::Kind::kOther;
    } else if (id == 2 && integer) {
      out.size = in.integer();
    } else if (id == 3 && integer) {
      out.packed_size = in.integer();
    } else if ((id == 5 || id == 7 || id == 8) && type == Type::kStruct) {
      page(id == 8);
    } else {
      in.skip(type);
    }
  });
  out.header_size = in.position();
  const auto left = static_cast<std::int64_t>(bytes.size() - out.header_size);
  constexpr std::int64_t kMostValues = std::int64_t{1} << 24;  // writers cut pages at some MiB or 20,000 rows
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 31;
  if (out.packed_size < 0 || out.packed_size > left || out.size < 0 || out.size > kMostBytes ||
      out.values < 0 || out.values > kMostValues || out.definition_bytes < 0 || out.repetition_bytes < 0 ||
      out.definition_bytes + out.repetition_bytes > out.packed_size ||
      out.definition_bytes + out.repetition_bytes > out.size) {
    throw damaged(where, fmt::format("a page of {} bytes ({} unpacked) with {} values cannot be right",
                                     out.packed_size, out.size, out.values));
  }
  if (encoding < 0 || encoding > 9 || encoding == 1 || encoding == 4)
    throw damaged(where, fmt::format("a page has the encoding {}", encoding));
  out.encoding = static_cast<Encoding>(encoding);
  return out;
}

}  // namespace rlcpp::data::parquet
