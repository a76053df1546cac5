#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/durable.h"
#include "base/error.h"
#include "hub/image_writer.h"
#include "model/adapter_files.h"
#include "model/checkpoint.h"
#include "model/weight_files.h"
#include "tensor/copy.h"

namespace rlcpp::model {
namespace {

// What transformers and vLLM look for beside the weights.
constexpr std::array kTokenizerFiles = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",     "chat_template.jinja"};

// Adapters as they are now, on the host.
struct HeldAdapters {
  ModelConfig config;
  std::vector<std::vector<float>> values;
  std::vector<LayerAdapters> masters;  // views of `values`
};

std::shared_ptr<const HeldAdapters> hold(const ModelConfig& config,
                                         const std::vector<LayerAdapters>& adapters) {
  auto held = std::make_shared<HeldAdapters>(HeldAdapters{config, {}, {}});
  const std::vector<AdapterShape> shapes = adapter_shapes(config);
  held->values.reserve(2 * shapes.size() * adapters.size());  // views of it must not move
  const auto held_tensor = [&](const Tensor& from) {
    std::vector<float>& floats = held->values.emplace_back(to_floats(from));
    return Tensor(floats.data(), DType::kF32, from.shape());
  };
  for (const LayerAdapters& layer : adapters) {
    LayerAdapters& to = held->masters.emplace_back();
    for (const AdapterShape& shape : shapes) {
      const AdapterPair& from = layer.*shape.place;
      (to.*shape.place).a = held_tensor(from.a);
      (to.*shape.place).b = held_tensor(from.b);
    }
  }
  return held;
}

std::vector<hub::ImagePart> parts_of(const ModelConfig& config, const WeightSet& weights, DType dtype) {
  const std::vector<ParameterInfo> list = parameter_list(config);
  const auto held = weights.adapters.empty() ? nullptr : hold(config, weights.adapters);
  RLCPP_CHECK(list.size() == weights.flat.size());
  std::vector<hub::ImagePart> parts;
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      const Tensor values = weights.flat[p].rows(slice.row, slice.shape[0]);
      parts.push_back(
          {{slice.name, dtype, slice.shape, 0, static_cast<std::size_t>(values.size()) * size_of(dtype)},
           values});
      if (held == nullptr || !slice.name.ends_with("_proj.weight")) continue;
      parts.back().values = Tensor();
      parts.back().make = [held, values, name = slice.name] {
        std::vector<float> merged = to_floats(values);
        merge_adapter(held->config, held->masters, name, merged);
        return merged;
      };
    }
  }
  return parts;
}

// The directory without the weights.
hub::DirectoryImage directory_of(const ModelConfig& config, const std::string& dir, DType dtype,
                                 const std::string& tokenizer_dir) {
  RLCPP_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  hub::DirectoryImage out;
  out.path = dir;
  out.facts = R"({"kind": "model"})";
  out.add("config.json", to_hf_json(config, dtype == DType::kF32 ? "float32" : "bfloat16"));
  out.add("generation_config.json", generation_json(config));
  if (!tokenizer_dir.empty()) {
    for (const char* name : kTokenizerFiles) {
      const std::string path = tokenizer_dir + "/" + name;
      std::error_code ignored;
      if (std::filesystem::exists(path, ignored)) out.add(name, durable::read_file(path));
    }
  }
  return out;
}

}  // namespace

hub::DirectoryImage model_image(const ModelConfig& config, const WeightSet& weights, const std::string& dir,
                                DType dtype, const std::string& tokenizer_dir, std::size_t max_shard_bytes,
                                bool separate_adapters) {
  hub::DirectoryImage out = directory_of(config, dir, dtype, tokenizer_dir);
  add_weight_files(out, parts_of(config, weights, dtype), max_shard_bytes);
  out.steady = !weights.adapters.empty();  // the base is frozen
  if (separate_adapters && !weights.adapters.empty()) {
    add_adapter_files(out, "lora_adapters/", config, weights.adapters);
  }
  return out;
}

hub::DirectoryImage model_image(const ModelConfig& config,
                                const std::vector<std::vector<hub::TensorPiece>>& weights,
                                const std::string& dir, DType dtype, const std::string& tokenizer_dir,
                                std::size_t max_shard_bytes, hub::Share share) {
  const std::vector<ParameterInfo> list = parameter_list(config);
  RLCPP_CHECK(list.size() == weights.size());
  std::vector<hub::ImagePart> parts;
  for (std::size_t p = 0; p < list.size(); ++p) {
    for (const HfSlice& slice : list[p].slices) {
      std::int64_t width = 1;
      for (std::size_t axis = 1; axis < slice.shape.size(); ++axis) width *= slice.shape[axis];
      const std::int64_t count = slice.shape[0] * width;
      hub::ImagePart& part = parts.emplace_back();
      part.stored = {slice.name, dtype, slice.shape, 0, static_cast<std::size_t>(count) * size_of(dtype)};
      part.pieces = hub::cut(weights[p], slice.row * width, count);
    }
  }
  hub::DirectoryImage out = directory_of(config, dir, dtype, tokenizer_dir);
  add_weight_files(out, parts, max_shard_bytes, share);
  return out;
}

namespace {

void write(hub::DirectoryImage image, Device device) {
  std::vector<hub::DirectoryImage> images;
  images.push_back(std::move(image));
  const int threads = hub::writer_threads();
  const std::size_t ring = 4 * static_cast<std::size_t>(threads) * hub::ImageWriter::kBlock;
  hub::ImageWriter writer(durable::system_files(), device, ring, threads);
  hub::WriteProgress progress;
  writer.write(images, std::to_string(getpid()), progress);
}

}  // namespace

void save_model(const ModelConfig& config, const WeightSet& weights, const std::string& dir, DType dtype,
                const std::string& tokenizer_dir, std::size_t max_shard_bytes, bool separate_adapters) {
  to_floats(
      weights.flat.front().view({weights.flat.front().size()}).rows(0, 1));  // after all work of the device
  write(model_image(config, weights, dir, dtype, tokenizer_dir, max_shard_bytes, separate_adapters),
        weights.flat.front().device());
}

void save_model(const ModelConfig& config, const std::vector<std::vector<hub::TensorPiece>>& weights,
                const std::string& dir, DType dtype, const std::string& tokenizer_dir,
                std::size_t max_shard_bytes) {
  write(model_image(config, weights, dir, dtype, tokenizer_dir, max_shard_bytes),
        weights.front().front().values.device());
}

}  // namespace rlcpp::model
