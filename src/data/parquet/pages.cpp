#include "data/parquet/pages.h"

#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "data/parquet/encodings.h"
#include "data/unpack.h"

namespace rlcpp::data::parquet {
namespace {

int bits_for(int largest) {
  return std::bit_width(static_cast<unsigned>(largest));
}

class ColumnReader {
 public:
  ColumnReader(std::string_view file, const ColumnChunk& chunk, const Node& leaf, const std::string& where)
      : file_(file), chunk_(chunk), leaf_(leaf), where_(where) {}

  Column run() {
    if (chunk_.values == 0) return {};
    std::string_view rest =
        file_.substr(static_cast<std::size_t>(chunk_.begin), static_cast<std::size_t>(chunk_.size));
    while (column_.entries < chunk_.values) {
      const PageHeader header = read_page_header(rest, where_);
      const std::string_view body =
          rest.substr(header.header_size, static_cast<std::size_t>(header.packed_size));
      rest.remove_prefix(header.header_size + static_cast<std::size_t>(header.packed_size));
      if (header.kind == PageHeader::Kind::kDictionary) {
        read_dictionary(header, body);
      } else if (header.kind != PageHeader::Kind::kOther) {
        read_data(header, body);
      }
    }
    return std::move(column_);
  }

 private:
  Error damaged(const std::string& why) const {
    return bad_input(fmt::format("{} is a damaged Parquet file", where_),
                     fmt::format("column {}: {}", leaf_.name, why), "download or write it again");
  }
  bool is_text() const {
    return leaf_.type == Physical::kByteArray || leaf_.type == Physical::kFixed ||
           leaf_.type == Physical::kInt96;
  }
  bool is_number() const { return leaf_.type == Physical::kFloat || leaf_.type == Physical::kDouble; }

  // Of exactly `size` bytes; lives as long as the column.
  std::string_view unpack(std::string_view packed, std::size_t size) {
    switch (chunk_.codec) {
      case Codec::kNone:
        break;
      case Codec::kSnappy:
        return column_.pages.emplace_back(unpack_snappy(packed, where_, size));
      case Codec::kGzip:
        return column_.pages.emplace_back(unpack_gzip(packed, where_, size));
      case Codec::kZstd:
        column_.pages.emplace_back(unpack_zstd(packed, where_, size));
        packed = column_.pages.back();
        break;
    }
    if (packed.size() != size) throw damaged(fmt::format("a page has {} bytes, not {}", packed.size(), size));
    return packed;
  }

  void read_dictionary(const PageHeader& header, std::string_view body) {
    if (has_dictionary_ || column_.entries > 0) throw damaged("a dictionary where there cannot be one");
    if (header.encoding != Encoding::kPlain && header.encoding != Encoding::kPlainDictionary)
      throw damaged("its dictionary is not plain");
    has_dictionary_ = true;
    Bytes in(unpack(body, static_cast<std::size_t>(header.size)), where_);
    read_plain(in, static_cast<std::size_t>(header.values), dictionary_);
  }

  // Levels of a page, appended; returns how many entries have a value.
  std::size_t read_levels(Bytes& repetition, Bytes& definition, std::size_t entries) {
    const auto append = [&](Bytes& in, int largest, std::vector<std::uint8_t>& to) {
      std::size_t at_largest = entries;
      if (largest == 0) return at_largest;
      at_largest = 0;
      for (const std::uint32_t level : decode_hybrid(in, bits_for(largest), entries)) {
        if (level > static_cast<std::uint32_t>(largest)) throw damaged(fmt::format("a level of {}", level));
        to.push_back(static_cast<std::uint8_t>(level));
        at_largest += level == static_cast<std::uint32_t>(largest) ? 1 : 0;
      }
      return at_largest;
    };
    append(repetition, leaf_.max_repetition, column_.repetition);
    return append(definition, leaf_.max_definition, column_.definition);
  }

  void read_data(const PageHeader& header, std::string_view body) {
    const auto entries = static_cast<std::size_t>(header.values);
    if (header.values > chunk_.values - column_.entries) throw damaged("its pages have more values than it");
    column_.entries += header.values;
    const auto size = static_cast<std::size_t>(header.size);
    if (header.kind == PageHeader::Kind::kDataV2) {
      const auto repetition_size = static_cast<std::size_t>(header.repetition_bytes);
      const auto levels = repetition_size + static_cast<std::size_t>(header.definition_bytes);
      Bytes repetition(body.substr(0, repetition_size), where_);
      Bytes definition(body.substr(repetition_size, levels - repetition_size), where_);
      const std::size_t values = read_levels(repetition, definition, entries);
      body.remove_prefix(levels);
      // A page of nulls alone may pack nothing at all.
      Bytes in(header.packed && !body.empty() ? unpack(body, size - levels) : body, where_);
      read_values(in, header.encoding, values);
      return;
    }
    Bytes in(unpack(body, size), where_);
    const auto part = [&](int largest) {
      return Bytes(largest == 0 ? std::string_view() : in.take(in.little_endian(4)), where_);
    };
    Bytes repetition = part(leaf_.max_repetition), definition = part(leaf_.max_definition);
    read_values(in, header.encoding, read_levels(repetition, definition, entries));
  }

  void read_values(Bytes& in, Encoding encoding, std::size_t count) {
    if (count == 0) return;
    switch (encoding) {
      case Encoding::kPlain:
        return read_plain(in, count, column_);
      case Encoding::kPlainDictionary:
      case Encoding::kDictionary:
        return read_from_dictionary(in, count);
      case Encoding::kRle:
        if (leaf_.type != Physical::kBoolean) break;
        return read_runs(Bytes(in.take(in.little_endian(4)), where_), count);
      case Encoding::kDeltaBinary:
        if (leaf_.type != Physical::kInt32 && leaf_.type != Physical::kInt64) break;
        return append(column_.integers, wrapped(decode_delta(in, count)), count);
      case Encoding::kDeltaLength:
        if (leaf_.type != Physical::kByteArray) break;
        return append(column_.texts, decode_delta_lengths(in, count), count);
      case Encoding::kDeltaBytes: {
        if (leaf_.type != Physical::kByteArray && leaf_.type != Physical::kFixed) break;
        std::vector<std::string> texts = decode_delta_texts(in, count);
        if (texts.size() != count) throw damaged("a page has fewer values than it says");
        for (std::string& text : texts) column_.texts.push_back(column_.pages.emplace_back(std::move(text)));
        return;
      }
      case Encoding::kByteStreamSplit:
        return read_split(in, count);
    }
    throw damaged(
        fmt::format("a page has the encoding {}, which its type cannot have", static_cast<int>(encoding)));
  }

  // Differences of 32-bit numbers wrap in 32 bits.
  std::vector<std::int64_t> wrapped(std::vector<std::int64_t> values) const {
    if (leaf_.type == Physical::kInt32) {
      for (std::int64_t& value : values) value = static_cast<std::int32_t>(value);
    }
    return values;
  }

  void read_runs(Bytes in, std::size_t count) {
    for (const std::uint32_t value : decode_hybrid(in, 1, count)) column_.integers.push_back(value);
  }

  template <class T>
  void append(std::vector<T>& to, const std::vector<T>& values, std::size_t count) const {
    if (values.size() != count) throw damaged("a page has fewer values than it says");
    to.insert(to.end(), values.begin(), values.end());
  }

  void read_from_dictionary(Bytes& in, std::size_t count) {
    if (!has_dictionary_) throw damaged("it has no dictionary");
    const auto pick = [&](const auto& from, auto& to, std::uint32_t index) {
      if (index >= from.size())
        throw damaged(fmt::format("value {} of a dictionary of {}", index, from.size()));
      to.push_back(from[index]);
    };
    const int bits = static_cast<int>(in.little_endian(1));
    for (const std::uint32_t index : decode_hybrid(in, bits, count)) {
      if (is_text()) {
        pick(dictionary_.texts, column_.texts, index);
      } else if (is_number()) {
        pick(dictionary_.numbers, column_.numbers, index);
      } else {
        pick(dictionary_.integers, column_.integers, index);
      }
    }
  }

  static double number_of(std::uint64_t bits, std::size_t width) {
    return width == 8 ? std::bit_cast<double>(bits)
                      : static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }

  void put(Column& to, std::uint64_t bits, std::size_t width) const {
    if (is_number()) {
      to.numbers.push_back(number_of(bits, width));
    } else {
      to.integers.push_back(width == 8 ? static_cast<std::int64_t>(bits)
                                       : static_cast<std::int64_t>(static_cast<std::int32_t>(bits)));
    }
  }

  std::size_t width() const {
    switch (leaf_.type) {
      case Physical::kInt32:
      case Physical::kFloat:
        return 4;
      case Physical::kInt64:
      case Physical::kDouble:
        return 8;
      case Physical::kInt96:
        return 12;
      case Physical::kFixed:
        if (leaf_.type_length <= 0 || leaf_.type_length > (1 << 20))
          throw damaged(fmt::format("values of {} bytes", leaf_.type_length));
        return static_cast<std::size_t>(leaf_.type_length);
      default:
        return 0;
    }
  }

  void read_plain(Bytes& in, std::size_t count, Column& to) const {
    if (leaf_.type == Physical::kBoolean) {
      const std::string_view bits = in.take((count + 7) / 8);
      for (std::size_t i = 0; i < count; ++i)
        to.integers.push_back(static_cast<std::uint8_t>(bits[i / 8]) >> (i % 8) & 1);
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (leaf_.type == Physical::kByteArray) {
        to.texts.push_back(in.take(in.little_endian(4)));
      } else if (is_text()) {
        to.texts.push_back(in.take(width()));
      } else {
        put(to, in.little_endian(width()), width());
      }
    }
  }

  // Byte 0 of all values, then byte 1, and so on.
  void read_split(Bytes& in, std::size_t count) {
    if (is_text() || leaf_.type == Physical::kBoolean) throw damaged("an encoding that its type cannot have");
    const std::string_view bytes = in.take(count * width());
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t bits = 0;
      for (std::size_t b = 0; b < width(); ++b)
        bits |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(bytes[b * count + i])) << (8 * b);
      put(column_, bits, width());
    }
  }

  std::string_view file_;
  const ColumnChunk& chunk_;
  const Node& leaf_;
  const std::string& where_;
  Column column_;
  Column dictionary_;  // its pages lie in column_
  bool has_dictionary_ = false;
};

}  // namespace

Column read_column(std::string_view file, const ColumnChunk& chunk, const Node& leaf,
                   const std::string& where) {
  constexpr std::int64_t kMostEntries = std::int64_t{1} << 28;
  if (chunk.values > kMostEntries) {
    throw bad_input(fmt::format("{}: a group of rows has {} values in one column", where, chunk.values), {},
                    "write it in groups of a million rows");
  }
  return ColumnReader(file, chunk, leaf, where).run();
}

}  // namespace rlcpp::data::parquet
