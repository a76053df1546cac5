#include "hub/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace rlcpp::hub {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, DType>, 6> kDTypes = {{{"F32", DType::kF32},
                                                                        {"BF16", DType::kBF16},
                                                                        {"F16", DType::kF16},
                                                                        {"I32", DType::kI32},
                                                                        {"I64", DType::kI64},
                                                                        {"U8", DType::kU8}}};
constexpr const char* kRepair = "download or convert the file again";
constexpr std::size_t kMaxRank = 16;

std::optional<DType> dtype_of(std::string_view name) {
  for (const auto& [text, type] : kDTypes) {
    if (text == name) return type;
  }
  return std::nullopt;
}

std::string_view text_of(DType type) {
  for (const auto& [text, known] : kDTypes) {
    if (known == type) return text;
  }
  return "?";
}

// Names come from the file: shown escaped and cut, since they may be garbage.
std::string shown(std::string_view name) {
  return "'" + printable(name.size() > 120 ? std::string(name.substr(0, 117)) + "..." : std::string(name)) +
         "'";
}

// An event parser: the header is never held as a tree, so memory stays in proportion to the tensors found,
// and anything that is not {name: {dtype, shape, data_offsets}} or {"__metadata__": {string: string}} is
// refused where it stands.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& path, std::size_t data_begin) : path_(path), data_begin_(data_begin) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t value) override { return refuse(fmt::format("the number {}", value)); }
  bool number_float(number_float_t, const string_t& text) override { return refuse("the number " + text); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      if (shape_.size() == kMaxRank)
        fail(shown(name_) + fmt::format(" has more than {} dimensions", kMaxRank));
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(shown(name_) + fmt::format(" has a dimension of {}", value));
      }
      shape_.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (offsets_.size() == 2) fail(shown(name_) + " has more than two data_offsets");
      offsets_.push_back(value);
      return true;
    }
    return refuse(fmt::format("the number {}", value));
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      if (!header_.metadata.emplace(key_, value).second)
        fail("the metadata key " + shown(key_) + " appears twice");
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") return refuse("the string " + shown(value));
    dtype_ = dtype_of(value);
    if (!dtype_) {
      throw bad_input(fmt::format("{}: tensor {} has the data type {}, which rlcpp does not read", path_,
                                  shown(name_), shown(value)),
                      "F32, BF16, F16, I32, I64 and U8 are read", "convert the model to bf16 or f32");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::kRoot) {
      name_ = value;
      if (name_ != "__metadata__" && header_.tensors.contains(name_))
        fail("tensor " + shown(name_) + " appears twice");
      if (name_ == "__metadata__" && std::exchange(metadata_seen_, true)) fail("__metadata__ appears twice");
    } else if (place_ == Place::kTensor) {
      const std::array<std::string_view, 3> known = {"dtype", "shape", "data_offsets"};
      const auto found = std::find(known.begin(), known.end(), value);
      if (found == known.end())
        fail(fmt::format("tensor {} has the unknown field {}", shown(name_), shown(value)));
      const unsigned bit = 1U << static_cast<unsigned>(found - known.begin());
      if ((fields_ & bit) != 0) fail(fmt::format("tensor {} has the field {} twice", shown(name_), value));
      fields_ |= bit;
    }
    key_ = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot) {
      place_ = name_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
      fields_ = 0;
      shape_.clear();
      offsets_.clear();
      dtype_.reset();
    } else {
      return refuse("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) add_tensor();
    place_ = place_ == Place::kRoot ? Place::kEnd : Place::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && key_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && key_ == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      return refuse("an array");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    throw bad_input(
        fmt::format("{}: the header is not valid JSON at byte {} of the file", path_, 8 + position),
        printable(error.what()), kRepair);
  }

 private:
  enum class Place : std::uint8_t { kStart, kRoot, kMetadata, kTensor, kShape, kOffsets, kEnd };

  [[noreturn]] void fail(const std::string& because) const {
    throw bad_input(path_ + ": the safetensors header is damaged", because, kRepair);
  }
  bool refuse(const std::string& value) const {
    fail(fmt::format("{} stands where the format has none (tensor {}, field {})", value, shown(name_),
                     shown(key_)));
  }

  void add_tensor() {
    if (fields_ != 7 || !dtype_) fail("tensor " + shown(name_) + " lacks dtype, shape or data_offsets");
    if (offsets_.size() != 2) fail("tensor " + shown(name_) + " has not two data_offsets");
    // The product is taken in bytes, so that neither elements nor bytes can overflow.
    std::uint64_t bytes = size_of(*dtype_);
    for (const std::int64_t extent : shape_) {
      const auto factor = static_cast<std::uint64_t>(extent);
      if (factor != 0 && bytes > std::numeric_limits<std::int64_t>::max() / factor) {
        fail("the shape of tensor " + shown(name_) + " overflows");
      }
      bytes *= factor;
    }
    if (offsets_[1] < offsets_[0] || offsets_[1] - offsets_[0] != bytes) {
      fail(fmt::format("tensor {} needs {} bytes for its shape and has data_offsets [{}, {}]", shown(name_),
                       bytes, offsets_[0], offsets_[1]));
    }
    if (offsets_[1] > std::numeric_limits<std::size_t>::max() - data_begin_) {
      fail(fmt::format("tensor {} ends at {}", shown(name_), offsets_[1]));
    }
    header_.tensors.emplace(name_, StoredTensor{name_, *dtype_, shape_, data_begin_ + offsets_[0], bytes});
  }

  const std::string& path_;
  std::size_t data_begin_;
  SafetensorsHeader header_;
  Place place_ = Place::kStart;
  bool metadata_seen_ = false;
  std::string name_, key_;
  unsigned fields_ = 0;
  std::optional<DType> dtype_;
  std::vector<std::int64_t> shape_;
  std::vector<std::uint64_t> offsets_;
};

void require_contiguous(const SafetensorsHeader& header, std::size_t data_begin, std::size_t file_bytes,
                        const std::string& path) {
  std::vector<const StoredTensor*> order;
  order.reserve(header.tensors.size());
  for (const auto& [name, tensor] : header.tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  std::size_t expected = data_begin;
  for (const StoredTensor* tensor : order) {
    if (tensor->offset != expected) {
      throw bad_input(
          fmt::format("{}: tensor {} does not follow the one before it", path, shown(tensor->name)),
          fmt::format("it starts at byte {} of the file, the one before it ends at {}: {}", tensor->offset,
                      expected, tensor->offset > expected ? "a hole" : "an overlap"),
          kRepair);
    }
    expected = tensor->offset + tensor->bytes;
    if (expected > file_bytes) {
      throw bad_input(fmt::format("{}: the file is truncated", path),
                      fmt::format("tensor {} ends at byte {}, the file has {} bytes", shown(tensor->name),
                                  expected, file_bytes),
                      kRepair);
    }
  }
  if (expected != file_bytes) {
    throw bad_input(
        path + ": the file is longer than its tensors",
        fmt::format("the last tensor ends at byte {}, the file has {} bytes", expected, file_bytes), kRepair);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json_text, std::size_t data_begin,
                                           std::size_t file_bytes, const std::string& path) {
  if (json_text.empty() || json_text.front() != '{') {
    throw bad_input(path + ": not a safetensors file", "the header does not start with '{'", kRepair);
  }
  HeaderReader reader(path, data_begin);
  json::sax_parse(json_text.begin(), json_text.end(), &reader);
  SafetensorsHeader header = reader.take();
  require_contiguous(header, data_begin, file_bytes, path);
  return header;
}

std::string safetensors_header(const std::vector<StoredTensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + json(metadata).dump();
  std::size_t offset = 0;
  for (const StoredTensor& tensor : tensors) {
    std::size_t bytes = size_of(tensor.dtype);
    for (const std::int64_t extent : tensor.shape) bytes *= static_cast<std::size_t>(extent);
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        text.size() > 1 ? "," : "", json(tensor.name).dump(), text_of(tensor.dtype),
                        json(tensor.shape).dump(), offset, offset + bytes);
    offset += bytes;
  }
  text += "}";
  // Spaces bring the data to a multiple of 8 bytes, as the format's own writer does.
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i)
    bytes[static_cast<std::size_t>(i)] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  return bytes + text;
}

}  // namespace rlcpp::hub
