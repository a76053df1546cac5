// A safetensors file, its tensors included.
#include "fuzz/targets.h"
#include "hub/safetensors.h"

namespace rlcpp::fuzz {

void safetensors(std::string_view bytes) {
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

}  // namespace rlcpp::fuzz
