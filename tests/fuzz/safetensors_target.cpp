// A safetensors file, its tensors included: as it is, and with the length of the header that it would need.
#include <cstring>

#include "fuzz/targets.h"
#include "hub/safetensors.h"

namespace rlcpp::fuzz {
namespace {

void read(std::string_view bytes) {
  const MemoryFile raw(bytes);
  accepted([&] {
    const hub::SafetensorsFile file(raw.path());
    std::size_t sum = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      require(tensor.offset + tensor.bytes <= bytes.size(), "a tensor lies in the file");
      sum += tensor.bytes;
      std::size_t elements = 1;
      for (const std::int64_t extent : tensor.shape) elements *= static_cast<std::size_t>(extent);
      if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16)
        continue;
      std::vector<float> values(elements);
      file.read_f32(tensor, values);
    }
    require(sum <= bytes.size(), "tensors do not overlap");
  });
}

}  // namespace

void safetensors(std::string_view bytes) {
  read(bytes);
  const std::size_t brace = bytes.rfind('}');
  if (brace == std::string_view::npos || brace < 8) return;
  std::string mended(bytes);
  const std::uint64_t length = brace + 1 - 8;
  std::memcpy(mended.data(), &length, 8);
  if (mended != bytes) read(mended);
}

}  // namespace rlcpp::fuzz
