// Puts columns together to rows: every column tells by its levels which of the lists and optional groups on
// the way to it are there (Melnik et al. 2010, "Dremel", record assembly).
#include "data/parquet/rows.h"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/parquet/pages.h"

namespace rlcpp::data::parquet {
namespace {

using Json = nlohmann::ordered_json;

// Where a column is being read.
struct Cursor {
  Column column;
  std::size_t entry = 0, value = 0;
};

class Assembler {
 public:
  Assembler(const Metadata& metadata, std::vector<Cursor>& cursors, const std::string& where)
      : metadata_(metadata), cursors_(cursors), where_(where) {}

  Json row() {
    Json out = Json::object();
    expect_repetition(metadata_.root, 0);
    for (const Node& child : metadata_.root.children) out[child.name] = read(child);
    return out;
  }

  void expect_end() const {
    for (std::size_t leaf = 0; leaf < cursors_.size(); ++leaf) {
      if (more(leaf)) throw damaged("a column has more values than rows");
    }
  }

 private:
  Error damaged(const std::string& why) const {
    return bad_input(fmt::format("{} is a damaged Parquet file", where_), why, "download or write it again");
  }

  static std::size_t first_leaf(const Node& node) {
    const Node* at = &node;
    while (at->leaf < 0) at = &at->children.front();
    return static_cast<std::size_t>(at->leaf);
  }
  bool more(std::size_t leaf) const {
    return cursors_[leaf].entry < static_cast<std::size_t>(cursors_[leaf].column.entries);
  }
  int definition(std::size_t leaf) const {
    if (!more(leaf)) throw damaged("a column has fewer values than rows");
    const Column& column = cursors_[leaf].column;
    return column.definition.empty() ? 0 : column.definition[cursors_[leaf].entry];
  }
  int repetition(std::size_t leaf) const {
    const Column& column = cursors_[leaf].column;
    return column.repetition.empty() ? 0 : column.repetition[cursors_[leaf].entry];
  }

  // All columns below a node must be at the same place: the beginning of a row, or of a list's next element.
  void expect_repetition(const Node& node, int level) const {
    for (const Node& child : node.children) expect_repetition(child, level);
    if (node.leaf < 0) return;
    const auto leaf = static_cast<std::size_t>(node.leaf);
    if (!more(leaf) || repetition(leaf) != level)
      throw damaged("its columns have rows or lists of different lengths");
  }

  // Goes past the one entry that each column below `node` has where the node is not there.
  void pass(const Node& node) {
    for (const Node& child : node.children) pass(child);
    if (node.leaf < 0) return;
    const auto leaf = static_cast<std::size_t>(node.leaf);
    if (definition(leaf) >= node.max_definition) throw damaged("a value inside of a group that is not there");
    ++cursors_[leaf].entry;
  }

  Json read(const Node& node) {
    if (node.repetition == Repetition::kRepeated) return list(node, node);
    if (node.repetition == Repetition::kOptional && definition(first_leaf(node)) < node.max_definition) {
      pass(node);
      return nullptr;
    }
    return content(node);
  }

  // `repeated`: the node whose copies are the elements; `element`: itself, or its only child.
  Json list(const Node& repeated, const Node& element) {
    Json out = Json::array();
    const std::size_t leaf = first_leaf(repeated);
    if (definition(leaf) < repeated.max_definition) {
      pass(repeated);
      return out;
    }
    while (true) {
      out.push_back(&element == &repeated ? content(repeated) : read(element));
      if (!more(leaf) || repetition(leaf) != repeated.max_repetition) return out;
      expect_repetition(repeated, repeated.max_repetition);
    }
  }

  Json content(const Node& node) {
    if (node.leaf >= 0) return value(node);
    if (node.meaning == Meaning::kList || node.meaning == Meaning::kMap) {
      if (node.children.size() == 1 && node.children[0].repetition == Repetition::kRepeated) {
        const Node& repeated = node.children[0];
        if (node.meaning == Meaning::kMap) return map(repeated);
        // Three levels; older writers have two, and then the repeated node is the element itself
        // (parquet-format, LogicalTypes.md, "Backward-compatibility rules").
        const bool three = repeated.leaf < 0 && repeated.children.size() == 1 && repeated.name != "array" &&
                           repeated.name != node.name + "_tuple";
        return list(repeated, three ? repeated.children[0] : repeated);
      }
    }
    Json out = Json::object();
    for (const Node& child : node.children) out[child.name] = read(child);
    return out;
  }

  Json map(const Node& repeated) {
    const Json entries = list(repeated, repeated);
    Json out = Json::object();
    for (const Json& entry : entries) {
      if (!entry.is_object() || entry.empty()) continue;
      const Json& key = entry.begin().value();
      out[key.is_string() ? key.get<std::string>()
                          : key.dump(-1, ' ', false, Json::error_handler_t::replace)] =
          entry.size() > 1 ? std::next(entry.begin()).value() : Json();
    }
    return out;
  }

  template <class T>
  const T& next(const std::vector<T>& values, Cursor& cursor) const {
    if (cursor.value >= values.size()) throw damaged("a column has fewer values than it says");
    return values[cursor.value++];
  }

  Json value(const Node& node) {
    const auto leaf = static_cast<std::size_t>(node.leaf);
    if (definition(leaf) != node.max_definition) throw damaged("a value that must be there is not");
    Cursor& cursor = cursors_[leaf];
    ++cursor.entry;
    switch (node.type) {
      case Physical::kBoolean:
        return next(cursor.column.integers, cursor) != 0;
      case Physical::kInt32:
      case Physical::kInt64: {
        const std::int64_t number = next(cursor.column.integers, cursor);
        if (node.meaning == Meaning::kDecimal) return scaled(static_cast<double>(number), node);
        if (node.meaning != Meaning::kUnsigned) return number;
        return node.type == Physical::kInt32 ? static_cast<std::uint64_t>(static_cast<std::uint32_t>(number))
                                             : static_cast<std::uint64_t>(number);
      }
      case Physical::kFloat:
      case Physical::kDouble: {
        const double number = next(cursor.column.numbers, cursor);
        return std::isfinite(number) ? Json(number) : Json();
      }
      case Physical::kByteArray:
        if (node.meaning != Meaning::kOther && node.meaning != Meaning::kDecimal)
          return std::string(next(cursor.column.texts, cursor));
        break;
      default:
        break;
    }
    const std::string_view bytes = next(cursor.column.texts, cursor);
    if (node.meaning == Meaning::kDecimal) return scaled(big_endian(bytes), node);
    std::string hexadecimal;
    for (const char c : bytes) hexadecimal += fmt::format("{:02x}", static_cast<std::uint8_t>(c));
    return hexadecimal;
  }

  static Json scaled(double number, const Node& node) {
    const double value = number / std::pow(10.0, static_cast<double>(node.scale));
    return std::isfinite(value) ? Json(value) : Json();
  }

  // Two's complement, the highest byte first.
  static double big_endian(std::string_view bytes) {
    double value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const double byte = i == 0 ? static_cast<double>(static_cast<std::int8_t>(bytes[i]))
                                 : static_cast<double>(static_cast<std::uint8_t>(bytes[i]));
      value = value * 256 + byte;
    }
    return value;
  }

  const Metadata& metadata_;
  std::vector<Cursor>& cursors_;
  const std::string& where_;
};

}  // namespace

std::string json_lines(std::string_view file, const std::string& where) {
  const Metadata metadata = read_metadata(file, where);
  std::string lines;
  for (const RowGroup& group : metadata.groups) {
    std::vector<Cursor> cursors(group.columns.size());
    for (std::size_t i = 0; i < cursors.size(); ++i)
      cursors[i].column = read_column(file, group.columns[i], *metadata.leaves[i], where);
    Assembler assembler(metadata, cursors, where);
    for (std::int64_t row = 0; row < group.rows; ++row) {
      lines += assembler.row().dump(-1, ' ', false, Json::error_handler_t::replace);
      lines += '\n';
    }
    assembler.expect_end();
  }
  return lines;
}

}  // namespace rlcpp::data::parquet
