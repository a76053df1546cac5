// HF model directories: config.json, model.safetensors or shards with an index, tokenizer files copied
// through.
#pragma once

#include <string>

#include "hub/tensor_image.h"
#include "model/weights.h"

namespace rlcpp::model {

// Reads <dir>/config.json. Where generation_config.json names end-of-sequence tokens, they are the ones: chat
// models stop at more than config.json knows.
ModelConfig load_config(const std::string& dir);

// Reads every tensor of parameter_list from <dir> (single file or sharded; bf16, f16, f32) into `weights`
// (f32, or bf16: rounded to nearest). A missing, doubled or mis-shaped tensor is an error that names file,
// tensor and both shapes. A stored lm_head of a tied model must be absent or equal to the embedding. A tensor
// that the model has no place for is an error, except rope's inverse frequencies, which old checkpoints
// store; so is a number that is not finite. A directory that save_model wrote is verified first, by its
// manifest. `pool` (may be null: one thread) speeds the conversion up.
void load_weights(const ModelConfig& config, const std::string& dir, const WeightSet& weights,
                  ThreadPool* pool = nullptr);

// A directory that transformers' from_pretrained loads: config.json, generation_config.json,
// model.safetensors (sharded above max_shard_bytes with an index), and the tokenizer files of `tokenizer_dir`
// (may be empty). dtype: kF32 or kBF16. The weights are read when the image is.
// Adapters (`weights.adapters`, f32 masters) are merged: W + scale B A in f32, rounded once. Their values are
// taken now, so training may go on while the image is read. `separate_adapters` also writes them to
// lora_adapters/, as peft does.
hub::DirectoryImage model_image(const ModelConfig& config, const WeightSet& weights, const std::string& dir,
                                DType dtype, const std::string& tokenizer_dir,
                                std::size_t max_shard_bytes = std::size_t{5} << 30,
                                bool separate_adapters = false);

// The same of a model without adapters whose parameters lie in pieces: of each in the order of
// parameter_list, f32 or bf16. `share`: what of them is in this process.
hub::DirectoryImage model_image(const ModelConfig& config,
                                const std::vector<std::vector<hub::TensorPiece>>& weights,
                                const std::string& dir, DType dtype, const std::string& tokenizer_dir,
                                std::size_t max_shard_bytes = std::size_t{5} << 30,
                                hub::Share share = hub::Share::kAll);

// Writes that image. Durable and atomic: the directory appears complete or not at all.
void save_model(const ModelConfig& config, const WeightSet& weights, const std::string& dir, DType dtype,
                const std::string& tokenizer_dir, std::size_t max_shard_bytes = std::size_t{5} << 30,
                bool separate_adapters = false);

// The same of a model in pieces; the devices have finished writing them.
void save_model(const ModelConfig& config, const std::vector<std::vector<hub::TensorPiece>>& weights,
                const std::string& dir, DType dtype, const std::string& tokenizer_dir,
                std::size_t max_shard_bytes = std::size_t{5} << 30);

}  // namespace rlcpp::model
