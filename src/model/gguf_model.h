// A GGUF file of a language model as a Hugging Face model: configuration, names and order of tensors. What a
// converter to GGUF did to them is undone.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hub/gguf.h"
#include "hub/tensor_image.h"
#include "model/config.h"

namespace rlcpp::model {

// The architectures llama, qwen2 and qwen3, dense. Throws bad_input naming the file and the key for others,
// for features that the decoder does not have, and for rope factors that are not those of Llama 3.
ModelConfig gguf_config(const hub::GgufFile& file);

// "blk.3.attn_q.weight" of "model.layers.3.self_attn.q_proj.weight".
std::string gguf_tensor_name(const std::string& hf_name);

// kBF16 if every matrix of the file is stored so, else kF32, in which all formats that are read are exact.
DType gguf_dtype(const hub::GgufFile& file);

// A directory like that of model_image(): config.json, generation_config.json, `texts` (name and content, the
// tokenizer's files) and safetensors, whose values are read from the file when the image is. Throws bad_input
// if the file lacks a tensor, has one of another shape, or one that the model has no place for; reading
// throws it for a number that is not finite.
hub::DirectoryImage gguf_image(const std::shared_ptr<const hub::GgufFile>& file, const ModelConfig& config,
                               const std::string& dir, DType dtype,
                               const std::vector<std::pair<std::string, std::string>>& texts,
                               std::size_t max_shard_bytes = std::size_t{5} << 30);

}  // namespace rlcpp::model
