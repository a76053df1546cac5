// Directories of adapters as PEFT writes and reads them: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <string>
#include <vector>

#include "hub/tensor_image.h"
#include "model/adapters.h"

namespace rlcpp::model {

// Rank, alpha and targets of <dir>/adapter_config.json. With use_rslora the scale is alpha / sqrt(rank);
// alpha is then the one that gives this scale as alpha / rank. What means something else than plain LoRA on
// the seven linear layers (DoRA, biases, ranks or alphas by pattern, saved modules, a changed base, ...) is
// refused by its name. Throws bad_input.
AdapterConfig read_adapter_config(const std::string& dir);

// Throws bad_input, with the keys to set, if the adapter in <dir> has another rank, alpha or targets than
// `run`.
void require_adapter(const std::string& dir, const AdapterConfig& run);

// Fills the masters from <dir>. Throws bad_input if its rank, alpha or targets are not those of
// config.adapters, or if a tensor is missing, unknown, of another shape or not finite.
void load_adapter(const ModelConfig& config, const std::string& dir,
                  const std::vector<LayerAdapters>& masters);

// Adds both files under `prefix` ("lora_adapters/"); values are f32, those of now.
void add_adapter_files(hub::DirectoryImage& out, const std::string& prefix, const ModelConfig& config,
                       const std::vector<LayerAdapters>& masters);

}  // namespace rlcpp::model
