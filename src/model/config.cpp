#include "model/config.h"

namespace rlcpp::model {

std::int64_t ModelConfig::matmul_parameters() const {
  const std::int64_t attention =
      hidden_size * head_dim * (2 * num_heads + 2 * num_kv_heads);  // q and out, k and v
  const std::int64_t mlp = 3 * hidden_size * intermediate_size;
  return num_layers * (attention + mlp) + vocab_size * hidden_size;
}

std::int64_t ModelConfig::parameters() const {
  std::int64_t layer = 2 * hidden_size;  // the two norms
  if (qk_norm) layer += 2 * head_dim;
  if (qkv_bias) layer += (num_heads + 2 * num_kv_heads) * head_dim;
  if (out_bias) layer += hidden_size;
  if (mlp_bias) layer += 2 * intermediate_size + hidden_size;
  return matmul_parameters() + num_layers * layer + hidden_size + (tied ? 0 : vocab_size * hidden_size);
}

const char* architecture_of(Family family) {
  switch (family) {
    case Family::kQwen3:
      return "Qwen3ForCausalLM";
    case Family::kQwen2:
      return "Qwen2ForCausalLM";
    case Family::kLlama:
      return "LlamaForCausalLM";
  }
  return "?";
}

}  // namespace rlcpp::model
