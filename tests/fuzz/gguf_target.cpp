// A GGUF file, its tensors included.
#include "fuzz/targets.h"
#include "hub/gguf.h"

namespace rlcpp::fuzz {

void gguf(std::string_view bytes) {
  const MemoryFile raw(bytes);
  accepted([&] {
    const hub::GgufFile file(raw.path());
    for (const auto& [name, tensor] : file.tensors()) {
      require(tensor.offset + tensor.bytes <= bytes.size(), "a tensor lies in the file");
      std::vector<float> values(tensor.elements);
      file.read_f32(tensor, values);
    }
  });
}

}  // namespace rlcpp::fuzz
