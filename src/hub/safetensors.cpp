#include "hub/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "hub/safetensors_header.h"

namespace rlcpp::hub {
namespace {

constexpr const char* kHelp = "download or convert the file again";

// A read-only mapping of a whole regular file.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw bad_input("cannot open " + path, std::strerror(errno), "check the path of the model");
    struct stat status {};
    const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    if (!regular || status.st_size < 8) {
      close(fd);
      throw bad_input(
          path + ": not a safetensors file",
          regular ? fmt::format("it has {} bytes, the length of the header alone takes 8", status.st_size)
                  : "it is not a regular file",
          kHelp);
    }
    size_ = static_cast<std::size_t>(status.st_size);
    void* memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    close(fd);
    if (memory == MAP_FAILED) {
      throw environment_error("cannot map " + path, std::strerror(error),
                              "free memory or move the file to a local disk");
    }
    data_ = static_cast<const std::byte*>(memory);
  }
  ~Mapping() { munmap(const_cast<std::byte*>(data_), size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

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
  Mapping mapping;
  SafetensorsHeader header;
};

SafetensorsFile::SafetensorsFile(const std::string& path) : state_(std::make_unique<State>(path)) {
  const std::span<const std::byte> bytes = state_->mapping.bytes();
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
