#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "hub/safetensors.h"
#include "model/adapter_files.h"
#include "model/checkpoint.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;  // elements converted at once

// What transformers and vLLM look for beside the weights.
constexpr std::array kTokenizerFiles = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",     "chat_template.jinja"};

// One HF tensor to write, and where its values (f32, or bf16 of a frozen base) lie.
struct Piece {
  hub::StoredTensor stored;
  Tensor values;
};

// What is merged into the pieces.
struct Merge {
  const ModelConfig& config;
  const std::vector<LayerAdapters>& adapters;
};

std::vector<Piece> pieces_of(const ModelConfig& config, const WeightSet& weights, DType dtype) {
  const std::vector<ParameterInfo> list = parameter_list(config);
  RLCPP_CHECK(list.size() == weights.flat.size());
  std::vector<Piece> pieces;
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      const Tensor values = weights.flat[p].rows(slice.row, slice.shape[0]);
      pieces.push_back(
          {{slice.name, dtype, slice.shape, 0, static_cast<std::size_t>(values.size()) * size_of(dtype)},
           values});
    }
  }
  return pieces;
}

// A shard is filled until the next tensor would take it over the limit; a tensor is never split.
std::vector<std::vector<Piece>> shards_of(const std::vector<Piece>& pieces, std::size_t max_bytes) {
  std::vector<std::vector<Piece>> shards(1);
  std::size_t bytes = 0;
  for (const Piece& piece : pieces) {
    if (!shards.back().empty() && bytes + piece.stored.bytes > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(piece);
    bytes += piece.stored.bytes;
  }
  return shards;
}

// The values of a piece on the host, f32; `memory` holds them where the tensor's own does not.
std::span<const float> values_of(const Piece& piece, const Merge& merge, std::vector<float>& memory) {
  const bool own = piece.values.dtype() == DType::kF32 && piece.values.device().kind == DeviceKind::kCpu;
  if (own && merge.adapters.empty()) return piece.values.f32_span();
  memory = to_floats(piece.values);
  merge_adapter(merge.config, merge.adapters, piece.stored.name, memory);
  return memory;
}

void write_values(durable::AtomicDirectory::Writer& writer, const Piece& piece, const Merge& merge) {
  std::vector<float> memory;
  const std::span<const float> values = values_of(piece, merge, memory);
  if (piece.stored.dtype == DType::kF32) {
    writer.write(std::as_bytes(values));
    return;
  }
  std::vector<std::uint16_t> chunk;
  for (std::size_t at = 0; at < values.size(); at += kChunk) {
    const auto part = values.subspan(at, std::min(kChunk, values.size() - at));
    chunk.resize(part.size());
    std::transform(part.begin(), part.end(), chunk.begin(), f32_to_bf16);
    writer.write(std::as_bytes(std::span<const std::uint16_t>(chunk)));
  }
}

void write_shard(durable::AtomicDirectory& out, const std::string& name, const std::vector<Piece>& pieces,
                 const Merge& merge) {
  std::vector<hub::StoredTensor> tensors;
  for (const Piece& piece : pieces) tensors.push_back(piece.stored);
  auto writer = out.create(name);
  // transformers refuses a file that does not say "pt" here.
  const std::string header = hub::safetensors_header(tensors, {{"format", "pt"}});
  writer.write(std::as_bytes(std::span<const char>(header)));
  for (const Piece& piece : pieces) write_values(writer, piece, merge);
  writer.finish();
}

void write_weights(durable::AtomicDirectory& out, const std::vector<Piece>& pieces,
                   std::size_t max_shard_bytes, const Merge& merge) {
  const auto shards = shards_of(pieces, max_shard_bytes);
  if (shards.size() == 1) {
    write_shard(out, "model.safetensors", shards[0], merge);
    return;
  }
  std::size_t total = 0;
  nlohmann::ordered_json map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_shard(out, name, shards[i], merge);
    for (const Piece& piece : shards[i]) {
      map[piece.stored.name] = name;
      total += piece.stored.bytes;
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

}  // namespace

void save_model(const ModelConfig& config, const WeightSet& weights, const std::string& dir, DType dtype,
                const std::string& tokenizer_dir, std::size_t max_shard_bytes, bool separate_adapters) {
  RLCPP_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  durable::AtomicDirectory out(durable::system_files(), dir, std::to_string(getpid()));
  out.add("config.json", to_hf_json(config, dtype == DType::kF32 ? "float32" : "bfloat16"));
  out.add("generation_config.json", generation_json(config));
  if (!tokenizer_dir.empty()) {
    for (const char* name : kTokenizerFiles) {
      const std::string path = tokenizer_dir + "/" + name;
      std::error_code ignored;
      if (std::filesystem::exists(path, ignored)) out.add(name, durable::read_file(path));
    }
  }
  write_weights(out, pieces_of(config, weights, dtype), max_shard_bytes, {config, weights.adapters});
  if (separate_adapters && !weights.adapters.empty()) {
    add_adapter_files(out, "lora_adapters/", config, weights.adapters);
  }
  out.commit(R"({"kind": "model"})");
}

}  // namespace rlcpp::model
