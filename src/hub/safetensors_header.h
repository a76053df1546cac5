// The JSON header of a safetensors file, read with a grammar of exactly the shape that the format allows.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hub/safetensors.h"

namespace rlcpp::hub {

// The format's own limit on the header, so that a damaged length cannot ask for more.
inline constexpr std::size_t kMaxHeaderBytes = 100'000'000;

struct SafetensorsHeader {
  std::map<std::string, StoredTensor> tensors;  // offsets count from the start of the file
  std::map<std::string, std::string> metadata;
};

// Parses and checks the header text: known dtypes, shapes whose product does not overflow and equals the
// bytes claimed, tensors that fill [data_begin, file_bytes) without hole or overlap, no name twice. `path` is
// named in errors.
SafetensorsHeader parse_safetensors_header(std::string_view json_text, std::size_t data_begin,
                                           std::size_t file_bytes, const std::string& path);

}  // namespace rlcpp::hub
