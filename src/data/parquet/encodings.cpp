#include "data/parquet/encodings.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"

namespace rlcpp::data::parquet {

void Bytes::damaged(const std::string& why) const {
  throw bad_input(fmt::format("{} is a damaged Parquet file", where_), why, "download or write it again");
}

std::string_view Bytes::take(std::size_t count) {
  if (count > left()) damaged(fmt::format("a page ends {} bytes early", count - left()));
  const std::string_view out = bytes_.substr(at_, count);
  at_ += count;
  return out;
}

std::uint64_t Bytes::little_endian(std::size_t count) {
  std::uint64_t value = 0;
  const std::string_view bytes = take(count);
  for (std::size_t i = 0; i < count; ++i)
    value |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(bytes[i])) << (8 * i);
  return value;
}

std::uint64_t Bytes::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint64_t byte = little_endian(1);
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  damaged("a number has more than 64 bits");
}

std::int64_t Bytes::zigzag() {
  const std::uint64_t value = varint();
  return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

namespace {

// Value i of `bits` bits each, packed from the least significant bit on.
std::uint64_t packed_value(std::string_view bytes, std::size_t i, unsigned bits) {
  std::uint64_t value = 0;
  const std::size_t first = i * bits;
  for (unsigned got = 0; got < bits;) {
    const std::size_t bit = first + got;
    const unsigned shift = bit % 8;
    const unsigned take = std::min(8 - shift, bits - got);
    const std::uint64_t byte = static_cast<std::uint8_t>(bytes[bit / 8]);
    value |= ((byte >> shift) & ((1U << take) - 1)) << got;
    got += take;
  }
  return value;
}

}  // namespace

std::vector<std::uint32_t> decode_hybrid(Bytes& in, int bits, std::size_t count) {
  if (bits < 0 || bits > 32) in.damaged(fmt::format("values of {} bits", bits));
  std::vector<std::uint32_t> out;
  out.reserve(count);
  while (out.size() < count) {
    const std::uint64_t head = in.varint();
    const std::size_t want = count - out.size();
    if ((head & 1) == 0) {
      const std::uint64_t value = in.little_endian((static_cast<std::size_t>(bits) + 7) / 8);
      const std::uint64_t run = head >> 1;
      if (run == 0) in.damaged("a run of no values");
      out.insert(out.end(), std::min<std::uint64_t>(run, want), static_cast<std::uint32_t>(value));
      continue;
    }
    // Groups of eight. Some writers cut the last one off behind the values that count.
    const std::uint64_t groups = head >> 1;
    if (groups == 0) in.damaged("a run of no values");
    const std::uint64_t values = std::min<std::uint64_t>(groups, want / 8 + 1) * 8;
    const std::size_t take = std::min<std::uint64_t>(values, want);
    const std::size_t needed = (take * static_cast<std::size_t>(bits) + 7) / 8;
    std::uint64_t whole = groups * static_cast<std::uint64_t>(bits);
    if (groups > in.left() + 1) whole = in.left();  // also keeps the product from overflowing
    const std::string_view bytes =
        in.take(std::max<std::size_t>(needed, std::min<std::uint64_t>(whole, in.left())));
    for (std::size_t i = 0; i < take; ++i)
      out.push_back(static_cast<std::uint32_t>(packed_value(bytes, i, static_cast<unsigned>(bits))));
  }
  return out;
}

std::vector<std::int64_t> decode_delta(Bytes& in, std::size_t most) {
  const std::uint64_t block = in.varint();
  const std::uint64_t minis = in.varint();
  const std::uint64_t count = in.varint();
  std::uint64_t value =
      static_cast<std::uint64_t>(in.zigzag());  // wraps as two's complement, as the format says
  if (count > most || block == 0 || block > (1U << 20) || minis == 0 || minis > 1024 || block % minis != 0 ||
      (block / minis) % 8 != 0) {
    in.damaged(fmt::format("differences in blocks of {} in {} parts, {} in all", block, minis, count));
  }
  std::vector<std::int64_t> out;
  out.reserve(count);
  if (count > 0) out.push_back(static_cast<std::int64_t>(value));
  const std::size_t size = block / minis;
  while (out.size() < count) {
    const auto least = static_cast<std::uint64_t>(in.zigzag());
    const std::string_view widths = in.take(minis);
    for (std::size_t m = 0; m < minis && out.size() < count; ++m) {
      const auto bits = static_cast<std::uint8_t>(widths[m]);
      if (bits > 64) in.damaged(fmt::format("differences of {} bits", bits));
      const std::string_view bytes = in.take(size * bits / 8);
      for (std::size_t i = 0; i < size && out.size() < count; ++i) {
        value += least + packed_value(bytes, i, bits);
        out.push_back(static_cast<std::int64_t>(value));
      }
    }
  }
  return out;
}

std::vector<std::string_view> decode_delta_lengths(Bytes& in, std::size_t most) {
  const std::vector<std::int64_t> lengths = decode_delta(in, most);
  std::vector<std::string_view> out;
  out.reserve(lengths.size());
  for (const std::int64_t length : lengths) {
    if (length < 0) in.damaged("a text has a negative length");
    out.push_back(in.take(static_cast<std::size_t>(length)));
  }
  return out;
}

std::vector<std::string> decode_delta_texts(Bytes& in, std::size_t most) {
  const std::vector<std::int64_t> shared = decode_delta(in, most);
  const std::vector<std::string_view> ends = decode_delta_lengths(in, most);
  if (shared.size() != ends.size()) in.damaged("as many beginnings as ends of texts there must be");
  std::vector<std::string> out;
  out.reserve(ends.size());
  std::size_t total = 0;
  constexpr std::size_t kMost = std::size_t{1} << 31;  // a page has no more; sharing could pretend so
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const std::size_t before = i == 0 ? 0 : out[i - 1].size();
    if (shared[i] < 0 || static_cast<std::size_t>(shared[i]) > before)
      in.damaged("a text shares more than there is with the one before");
    out.push_back((i == 0 ? std::string() : out[i - 1].substr(0, static_cast<std::size_t>(shared[i]))) +
                  std::string(ends[i]));
    total += out.back().size();
    if (total > kMost) in.damaged("the texts of a page take more than 2 GiB");
  }
  return out;
}

}  // namespace rlcpp::data::parquet
