#include "model/weight_files.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

namespace rlcpp::model {
namespace {

// A shard is filled until the next tensor would take it over the limit; a tensor is never split.
std::vector<std::vector<hub::ImagePart>> shards_of(const std::vector<hub::ImagePart>& parts,
                                                   std::size_t max_bytes) {
  std::vector<std::vector<hub::ImagePart>> shards(1);
  std::size_t bytes = 0;
  for (const hub::ImagePart& part : parts) {
    if (!shards.back().empty() && bytes + part.stored.bytes > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(part);
    bytes += part.stored.bytes;
  }
  return shards;
}

}  // namespace

void add_weight_files(hub::DirectoryImage& out, const std::vector<hub::ImagePart>& parts,
                      std::size_t max_shard_bytes, hub::Share share) {
  // transformers refuses a file that does not say "pt" here.
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};
  const auto shards = shards_of(parts, max_shard_bytes);
  if (shards.size() == 1) {
    out.add("model.safetensors", hub::TensorImage(shards[0], metadata, share));
    return;
  }
  std::size_t total = 0;
  nlohmann::ordered_json map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    out.add(name, hub::TensorImage(shards[i], metadata, share));
    for (const hub::ImagePart& part : shards[i]) {
      map[part.stored.name] = name;
      total += part.stored.bytes;
    }
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  out.add("model.safetensors.index.json", index.dump(2) + "\n");
}

std::string generation_json(const ModelConfig& config) {
  auto out = nlohmann::ordered_json::object();
  if (config.bos_token_id >= 0) out["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_ids.size() == 1) out["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) out["eos_token_id"] = config.eos_token_ids;
  return out.dump(2) + "\n";
}

}  // namespace rlcpp::model
