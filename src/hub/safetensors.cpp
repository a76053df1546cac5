#include "hub/safetensors.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "base/error.h"
#include "hub/mapped_file.h"
#include "hub/safetensors_header.h"

namespace rlcpp::hub {
namespace {

constexpr const char* kHelp = "download or convert the file again";

template <class Convert>
void convert_16(std::span<const std::byte> from, std::span<float> to, Convert convert) {
  const std::byte* source = from.data();
  for (float& value : to) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source, sizeof bits);  // tensors of a foreign writer need not be aligned
    source += sizeof bits;
    value = convert(bits);
  }
}

}  // namespace

struct SafetensorsFile::State {
  State(const std::string& file_path) : path(file_path), mapping(file_path) {}
  std::string path;
  MappedFile mapping;
  SafetensorsHeader header;
};

SafetensorsFile::SafetensorsFile(const std::string& path) : state_(std::make_unique<State>(path)) {
  const std::span<const std::byte> bytes = state_->mapping.bytes();
  if (bytes.size() < 8) {
    throw bad_input(path + ": not a safetensors file",
                    fmt::format("it has {} bytes, the length of the header alone takes 8", bytes.size()),
                    kHelp);
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
  if (length > kMaxHeaderBytes || length > bytes.size() - 8) {
    throw bad_input(
        path + ": not a safetensors file, or a truncated one",
        fmt::format("its first 8 bytes claim a header of {} bytes; the file has {} bytes, and {} are allowed",
                    length, bytes.size(), kMaxHeaderBytes),
        kHelp);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  state_->header = parse_safetensors_header(text, 8 + length, bytes.size(), path);
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

const std::map<std::string, StoredTensor>& SafetensorsFile::tensors() const {
  return state_->header.tensors;
}
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->header.metadata;
}

std::span<const std::byte> SafetensorsFile::bytes(const StoredTensor& tensor) const {
  return state_->mapping.bytes().subspan(tensor.offset, tensor.bytes);
}

void SafetensorsFile::read_f32(const StoredTensor& tensor, std::span<float> out) const {
  RLCPP_CHECK(out.size() * size_of(tensor.dtype) == tensor.bytes);
  const std::span<const std::byte> from = bytes(tensor);
  switch (tensor.dtype) {
    case DType::kF32:
      if (!from.empty()) std::memcpy(out.data(), from.data(), from.size());
      return;
    case DType::kBF16:
      convert_16(from, out, [](std::uint16_t bits) { return bf16_to_f32(bits); });
      return;
    case DType::kF16:
      convert_16(from, out, [](std::uint16_t bits) { return f16_to_f32(bits); });
      return;
    default:
      break;
  }
  throw bad_input(fmt::format("{}: tensor '{}' holds {} and not floating-point numbers", state_->path,
                              tensor.name, name_of(tensor.dtype)),
                  {}, "convert the model to bf16 or f32");
}

}  // namespace rlcpp::hub
