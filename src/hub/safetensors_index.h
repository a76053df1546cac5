// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>

namespace rlcpp::hub {

// Tensor name → file name. Every file name is a plain base name ending in ".safetensors": an index never
// leads out of its directory. Throws bad_input naming the file and the entry.
std::map<std::string, std::string> read_safetensors_index(const std::string& path);

}  // namespace rlcpp::hub
