// The part of a GGUF file before the data, read from its bytes.
#pragma once

#include <map>
#include <span>
#include <string>

#include "hub/gguf.h"

namespace rlcpp::hub {

struct GgufHeader {
  std::map<std::string, GgufValue> values;
  std::map<std::string, GgufTensor> tensors;
};

// `bytes`: the whole file. `path` is named in errors; throws what GgufFile's constructor throws.
GgufHeader read_gguf_header(std::span<const std::byte> bytes, const std::string& path);

}  // namespace rlcpp::hub
