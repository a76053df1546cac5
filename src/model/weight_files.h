// What every directory of a model holds besides its weights' values.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hub/tensor_image.h"
#include "model/config.h"

namespace rlcpp::model {

// Adds model.safetensors, or above max_shard_bytes shards and their index, in the order of `parts`. `share`:
// what of them is in this process.
void add_weight_files(hub::DirectoryImage& out, const std::vector<hub::ImagePart>& parts,
                      std::size_t max_shard_bytes, hub::Share share = hub::Share::kAll);

// The text of generation_config.json.
std::string generation_json(const ModelConfig& config);

}  // namespace rlcpp::model
