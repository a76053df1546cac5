#include "model/gguf_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "model/weight_files.h"
#include "model/weights.h"

namespace rlcpp::model {
namespace {

struct GgufName {
  std::string_view hf, gguf;
};
// gguf-py's constants.py and tensor_mapping.py, for the three architectures.
constexpr std::array kOfModel = {GgufName{"model.embed_tokens.", "token_embd."},
                                 GgufName{"model.norm.", "output_norm."}, GgufName{"lm_head.", "output."}};
constexpr std::array kOfLayer = {
    GgufName{"input_layernorm.", "attn_norm."},    GgufName{"self_attn.q_proj.", "attn_q."},
    GgufName{"self_attn.k_proj.", "attn_k."},      GgufName{"self_attn.v_proj.", "attn_v."},
    GgufName{"self_attn.o_proj.", "attn_output."}, GgufName{"self_attn.q_norm.", "attn_q_norm."},
    GgufName{"self_attn.k_norm.", "attn_k_norm."}, GgufName{"post_attention_layernorm.", "ffn_norm."},
    GgufName{"mlp.gate_proj.", "ffn_gate."},       GgufName{"mlp.up_proj.", "ffn_up."},
    GgufName{"mlp.down_proj.", "ffn_down."}};

// llama.cpp rotates neighbouring pairs (2i, 2i + 1) of a Llama's head, transformers the pairs (i, i + d/2);
// so the converter reordered the rows of q and k (convert_hf_to_gguf.py, LlamaModel.permute). Row 2i + s of a
// head goes back to row s d/2 + i. The other architectures are rotated like transformers.
void undo_permutation(std::vector<float>& values, std::size_t heads, std::size_t head_dim) {
  const std::size_t row = values.size() / (heads * head_dim);  // 1: a bias
  std::vector<float> head(head_dim * row);
  for (std::size_t h = 0; h < heads; ++h) {
    float* to = values.data() + h * head.size();
    std::copy(to, to + head.size(), head.begin());
    for (std::size_t r = 0; r < head_dim; ++r) {
      const float* from = head.data() + r * row;
      std::copy(from, from + row, to + (r % 2 * (head_dim / 2) + r / 2) * row);
    }
  }
}

// Heads of a tensor whose rows were reordered; 0: none.
std::size_t permuted_heads(const ModelConfig& config, const std::string& hf_name) {
  if (config.family != Family::kLlama) return 0;
  if (hf_name.find(".q_proj.") != std::string::npos) return static_cast<std::size_t>(config.num_heads);
  if (hf_name.find(".k_proj.") != std::string::npos) return static_cast<std::size_t>(config.num_kv_heads);
  return 0;
}

std::vector<float> gguf_values(const hub::GgufFile& file, const hub::GgufTensor& tensor, std::size_t heads,
                               std::size_t head_dim) {
  std::vector<float> values(tensor.elements);
  file.read_f32(tensor, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw bad_input(
        fmt::format("{}: tensor '{}' holds a number that is not finite", file.path(), tensor.name),
        fmt::format("number {} of {} is {}", i, values.size(), values[i]),
        "download or convert the file again");
  }
  if (heads > 0) undo_permutation(values, heads, head_dim);
  return values;
}

const hub::GgufTensor& gguf_tensor(const hub::GgufFile& file, const HfSlice& slice) {
  const std::string name = gguf_tensor_name(slice.name);
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) {
    throw bad_input(fmt::format("{}: tensor '{}' is missing", file.path(), name),
                    fmt::format("{} is made from it", slice.name), "download or convert the file again");
  }
  if (found->second.shape != slice.shape) {
    throw bad_input(fmt::format("{}: tensor '{}' has the wrong shape", file.path(), name),
                    fmt::format("it is [{}], and the configuration asks for [{}]",
                                fmt::join(found->second.shape, ", "), fmt::join(slice.shape, ", ")),
                    "download or convert the file again");
  }
  return found->second;
}

}  // namespace

std::string gguf_tensor_name(const std::string& hf_name) {
  for (const auto& [hf, gguf] : kOfModel) {
    if (hf_name.starts_with(hf)) return std::string(gguf) + hf_name.substr(hf.size());
  }
  constexpr std::string_view kLayers = "model.layers.";
  RLCPP_CHECK(hf_name.starts_with(kLayers));
  const std::size_t end = hf_name.find('.', kLayers.size());
  const std::string rest = hf_name.substr(end + 1);
  for (const auto& [hf, gguf] : kOfLayer) {
    if (!rest.starts_with(hf)) continue;
    return fmt::format("blk.{}.{}{}", hf_name.substr(kLayers.size(), end - kLayers.size()), gguf,
                       rest.substr(hf.size()));
  }
  internal_error("a tensor without a name in GGUF", __FILE__, __LINE__);
}

DType gguf_dtype(const hub::GgufFile& file) {
  for (const auto& [name, tensor] : file.tensors()) {
    if (tensor.shape.size() > 1 && tensor.type != hub::GgufType::kBF16) return DType::kF32;
  }
  return DType::kBF16;
}

hub::DirectoryImage gguf_image(const std::shared_ptr<const hub::GgufFile>& file, const ModelConfig& config,
                               const std::string& dir, DType dtype,
                               const std::vector<std::pair<std::string, std::string>>& texts,
                               std::size_t max_shard_bytes) {
  RLCPP_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  std::vector<hub::ImagePart> parts;
  std::set<std::string> used = {"rope_freqs.weight"};  // config.json says the same
  for (const ParameterInfo& parameter : parameter_list(config)) {
    for (const HfSlice& slice : parameter.slices) {
      const hub::GgufTensor& tensor = gguf_tensor(*file, slice);
      used.insert(tensor.name);
      hub::ImagePart part{{slice.name, dtype, slice.shape, 0, tensor.elements * size_of(dtype)}, Tensor()};
      part.make = [file, &tensor, heads = permuted_heads(config, slice.name),
                   head_dim = static_cast<std::size_t>(config.head_dim)] {
        return gguf_values(*file, tensor, heads, head_dim);
      };
      parts.push_back(std::move(part));
    }
  }
  for (const auto& [name, tensor] : file->tensors()) {
    if (used.contains(name)) continue;
    throw bad_input(fmt::format("{}: the model has no place for tensor '{}'", file->path(), printable(name)),
                    fmt::format("it is a {} of {} layers", architecture_of(config.family), config.num_layers),
                    "rlcpp converts dense models of the architectures llama, qwen2 and qwen3");
  }
  hub::DirectoryImage out;
  out.path = dir;
  out.facts = R"({"kind": "model"})";
  out.add("config.json", to_hf_json(config, dtype == DType::kF32 ? "float32" : "bfloat16"));
  out.add("generation_config.json", generation_json(config));
  for (const auto& [name, text] : texts) out.add(name, text);
  add_weight_files(out, parts, max_shard_bytes);
  out.steady = true;  // a file does not change
  return out;
}

}  // namespace rlcpp::model
