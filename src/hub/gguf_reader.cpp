#include "hub/gguf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace rlcpp::hub {
namespace {

constexpr const char* kGgufRepair = "download or convert the file again";
// Far more than any model has, and few enough to be held in memory.
constexpr std::uint64_t kMaxValues = 1 << 16, kMaxTensors = 1 << 20, kMaxElements = 1 << 24;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr int kMaxNesting = 4;

// The value types of the format.
enum GgufKind : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

std::size_t size_of_kind(std::uint32_t kind) {
  switch (kind) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
    case kString:  // its length
      return 8;
    case kArray:  // type and count
      return 12;
    default:
      return 0;
  }
}

// Names come from the file: shown escaped and cut, since they may be garbage.
std::string gguf_name(std::string_view name) {
  return fmt::format("'{}{}'", printable(name.substr(0, 117)), name.size() > 117 ? "..." : "");
}

class HeaderBytes {
 public:
  HeaderBytes(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  GgufHeader read() {
    const std::string magic = raw_text(4, "the magic");
    if (magic != "GGUF") {
      throw bad_input(path_ + ": not a GGUF file",
                      fmt::format("it begins with \"{}\" and not with \"GGUF\"", printable(magic)),
                      kGgufRepair);
    }
    const auto version = number<std::uint32_t>("the version");
    if (version != 2 && version != 3) {
      const bool swapped = version == 0x02000000U || version == 0x03000000U;
      throw bad_input(swapped ? path_ + ": a big-endian GGUF file is not read"
                              : fmt::format("{}: version {} of GGUF is not read", path_, version),
                      "little-endian files of the versions 2 and 3 are", "convert the model again");
    }
    // The least that one entry takes: a tensor has name, rank, type and offset.
    const std::uint64_t tensors = count("tensors", 8 + 4 + 4 + 8, kMaxTensors, 8);
    const std::uint64_t values = count("key-value pairs", 8 + 4 + 1, kMaxValues, 0);
    for (std::uint64_t i = 0; i < values; ++i) read_pair(i);
    for (std::uint64_t i = 0; i < tensors; ++i) read_tensor(i);
    place_tensors();
    return std::move(header_);
  }

 private:
  [[noreturn]] void damaged(const std::string& because) const {
    throw bad_input(path_ + ": the GGUF file is damaged or truncated", because, kGgufRepair);
  }

  std::size_t left() const { return bytes_.size() - at_; }

  template <class T>
  T number(const std::string& what) {
    if (left() < sizeof(T)) {
      damaged(fmt::format("{} at byte {} needs {} bytes, and {} are left", what, at_, sizeof(T), left()));
    }
    T value{};
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::string raw_text(std::uint64_t length, const std::string& what) {
    if (length > left()) {
      damaged(fmt::format("{} at byte {} claims {} bytes, and {} are left", what, at_, length, left()));
    }
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<std::size_t>(length));
    at_ += static_cast<std::size_t>(length);
    return text;
  }
  std::string text(const std::string& what) { return raw_text(number<std::uint64_t>(what), what); }

  // A count of entries of at least `bytes_each`, of which `skipped` bytes more stand before the first.
  std::uint64_t count(const std::string& what, std::uint64_t bytes_each, std::uint64_t most,
                      std::size_t skipped) {
    const std::size_t place = at_;
    const auto value = number<std::uint64_t>("the number of " + what);
    const std::uint64_t room = left() > skipped ? (left() - skipped) / bytes_each : 0;
    if (value > std::min(room, most)) {
      damaged(fmt::format("byte {} claims {} {}; the {} bytes left hold {} at most, and {} are allowed",
                          place, value, what, left(), room, most));
    }
    return value;
  }

  std::int64_t integer(std::uint32_t kind, const std::string& what) {
    switch (kind) {
      case kU8:
        return number<std::uint8_t>(what);
      case kI8:
        return number<std::int8_t>(what);
      case kU16:
        return number<std::uint16_t>(what);
      case kI16:
        return number<std::int16_t>(what);
      case kU32:
        return number<std::uint32_t>(what);
      case kI32:
        return number<std::int32_t>(what);
      case kBool:
        return number<std::uint8_t>(what) != 0 ? 1 : 0;
      case kI64:
        return number<std::int64_t>(what);
      default: {
        constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
        return static_cast<std::int64_t>(
            std::min(number<std::uint64_t>(what), static_cast<std::uint64_t>(kMost)));
      }
    }
  }
  double real(std::uint32_t kind, const std::string& what) {
    return kind == kF32 ? double{number<float>(what)} : number<double>(what);
  }

  GgufValue value(std::uint32_t kind, const std::string& what, int depth = 0) {
    if (size_of_kind(kind) == 0) damaged(fmt::format("{} has the unknown value type {}", what, kind));
    if (kind == kString) return text(what);
    if (kind == kArray) return array(what, depth);
    if (kind == kF32 || kind == kF64) return real(kind, what);
    const std::int64_t whole = integer(kind, what);
    return kind == kBool ? GgufValue(whole != 0) : GgufValue(whole);
  }

  GgufValue array(const std::string& what, int depth) {
    if (depth == kMaxNesting) damaged(fmt::format("{} has arrays in arrays beyond {} levels", what, depth));
    const auto kind = number<std::uint32_t>("the element type of " + what);
    if (size_of_kind(kind) == 0)
      damaged(fmt::format("{} is an array of the unknown value type {}", what, kind));
    const std::uint64_t elements = count("elements of " + what, size_of_kind(kind), kMaxElements, 0);
    const auto fill = [&](auto one) {
      std::vector<decltype(one())> list;
      list.reserve(static_cast<std::size_t>(elements));
      for (std::uint64_t i = 0; i < elements; ++i) list.push_back(one());
      return list;
    };
    if (kind == kString) return fill([&] { return text(what); });
    if (kind == kF32 || kind == kF64) return fill([&] { return real(kind, what); });
    if (kind != kArray) return fill([&] { return integer(kind, what); });
    for (std::uint64_t i = 0; i < elements; ++i) array(what, depth + 1);
    return std::monostate{};
  }

  void read_pair(std::uint64_t index) {
    const std::string key = text(fmt::format("the key of pair {}", index));
    const auto kind = number<std::uint32_t>("the type of " + gguf_name(key));
    GgufValue content = value(kind, gguf_name(key));
    if (!header_.values.emplace(key, std::move(content)).second)
      damaged("the key " + gguf_name(key) + " is there twice");
  }

  void read_tensor(std::uint64_t index) {
    GgufTensor tensor;
    tensor.name = text(fmt::format("the name of tensor {}", index));
    const std::string name = "tensor " + gguf_name(tensor.name);
    const auto dimensions = number<std::uint32_t>("the rank of " + name);
    if (dimensions > kMaxDimensions) damaged(fmt::format("{} has {} dimensions", name, dimensions));
    std::uint64_t elements = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto extent = number<std::uint64_t>("the shape of " + name);
      constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
      // Elements are at least half a byte, so a product beyond this is beyond any file.
      if (extent == 0 || extent > kMost / 8 || elements > kMost / 8 / extent) {
        damaged(fmt::format("{} has an impossible extent of {}", name, extent));
      }
      elements *= extent;
      tensor.shape.push_back(static_cast<std::int64_t>(extent));
    }
    const std::uint64_t row = tensor.shape.empty() ? 1 : static_cast<std::uint64_t>(tensor.shape.front());
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    const auto kind = number<std::uint32_t>("the type of " + name);
    const GgufTypeInfo* info = gguf_type(kind);
    if (info == nullptr) {
      throw bad_input(
          fmt::format("{}: {} is stored as {}, which rlcpp does not read", path_, name, gguf_type_name(kind)),
          gguf_types_read() + " are read", "take a file of one of these types");
    }
    if (row % info->block_elements != 0) {
      damaged(fmt::format("{} has rows of {} numbers, and {} holds them in blocks of {}", name, row,
                          info->name, info->block_elements));
    }
    tensor.type = info->type;
    tensor.elements = static_cast<std::size_t>(elements);
    tensor.bytes = static_cast<std::size_t>(elements / info->block_elements) * info->block_bytes;
    tensor.offset = number<std::uint64_t>("the offset of " + name);  // within the data, as yet
    const std::string key = tensor.name;
    if (!header_.tensors.emplace(key, std::move(tensor)).second) damaged(name + " is there twice");
  }

  // Where the data begins is known once all tensors are.
  void place_tensors() {
    std::uint64_t alignment = 32;
    if (const auto found = header_.values.find("general.alignment"); found != header_.values.end()) {
      const auto* given = std::get_if<std::int64_t>(&found->second);
      if (given == nullptr || *given < 1 || *given > 1 << 20 ||
          !std::has_single_bit(static_cast<std::uint64_t>(*given))) {
        damaged("general.alignment is no power of two up to 1048576");
      }
      alignment = static_cast<std::uint64_t>(*given);
    }
    const std::uint64_t begin = (at_ + alignment - 1) / alignment * alignment;
    const std::uint64_t room = begin < bytes_.size() ? bytes_.size() - begin : 0;
    std::vector<GgufTensor*> by_place;
    for (auto& [name, tensor] : header_.tensors) {
      if (tensor.offset % alignment != 0) {
        damaged(fmt::format("tensor {} begins at {}, which is no multiple of {}", gguf_name(name),
                            tensor.offset, alignment));
      }
      if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
        damaged(fmt::format("tensor {} takes bytes {} to {} of the data, and the file has {} of them",
                            gguf_name(name), tensor.offset, std::uint64_t{tensor.offset} + tensor.bytes,
                            room));
      }
      tensor.offset += static_cast<std::size_t>(begin);
      by_place.push_back(&tensor);
    }
    std::sort(by_place.begin(), by_place.end(),
              [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < by_place.size(); ++i) {
      if (by_place[i - 1]->offset + by_place[i - 1]->bytes <= by_place[i]->offset) continue;
      damaged(fmt::format("tensors {} and {} overlap", gguf_name(by_place[i - 1]->name),
                          gguf_name(by_place[i]->name)));
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  std::size_t at_ = 0;
  GgufHeader header_;
};

}  // namespace

GgufHeader read_gguf_header(std::span<const std::byte> bytes, const std::string& path) {
  return HeaderBytes(bytes, path).read();
}

}  // namespace rlcpp::hub
