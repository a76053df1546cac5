// The architecture of a decoder-only model as data: what Qwen3, Qwen2/2.5 and Llama differ in are flags here.
// Read from an HF config.json, or taken from the built-in shapes of well-known model ids (used by --bench and
// dry runs: no download).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/adapter_config.h"
#include "ops/rope.h"

namespace rlcpp::model {

enum class Family : std::uint8_t { kQwen3, kQwen2, kLlama };

enum class RopeKind : std::uint8_t { kDefault, kLinear, kLlama3, kYarn };

struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;            // llama3
  double high_freq_factor = 4.0;           // llama3
  double beta_fast = 32.0;                 // yarn
  double beta_slow = 1.0;                  // yarn
  double attention_factor = 0.0;           // yarn; 0: 0.1 ln(factor) + 1
  bool truncate = true;                    // yarn: the ramp starts and ends at whole dimensions
  std::int64_t original_max_position = 0;  // llama3, yarn
};

struct ModelConfig {
  Family family = Family::kQwen3;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position = 0;
  float rms_eps = 1e-6F;
  bool tied = false;      // the head is the embedding
  bool qk_norm = false;   // Qwen3
  bool qkv_bias = false;  // Qwen2, or Llama with attention_bias
  bool out_bias = false;  // Llama with attention_bias
  bool mlp_bias = false;  // Llama with mlp_bias
  double initializer_range = 0.02;
  RopeConfig rope;
  std::int64_t bos_token_id = -1;
  std::vector<std::int64_t> eos_token_ids;
  AdapterConfig adapters;  // of the run, not of config.json

  ops::QkvShape qkv() const { return {num_heads, num_kv_heads, head_dim}; }
  std::int64_t parameters() const;  // all, a tied head once
  // Parameters that take part in products, the head once, the embedding look-up not: P of the reference's MFU
  // formula.
  std::int64_t matmul_parameters() const;
};

// Parses the text of config.json; `where` (a path) is named in errors. Unsupported architectures and features
// (experts, sliding windows, quantisation) are refused by name. Throws Error kBadInput.
ModelConfig parse_config(const std::string& json_text, const std::string& where);

// The config.json that transformers loads back.
std::string to_hf_json(const ModelConfig& config, const std::string& dtype);

// The rope cos and sin of a position are those of position * inverse_frequencies()[i], times
// attention_factor(). Computed as transformers does (modeling_rope_utils.py, 5.x), with its rounding to f32:
// [head_dim / 2].
std::vector<float> inverse_frequencies(const ModelConfig& config);
float attention_factor(const RopeConfig& rope);

// The name of a family in config.json: "Qwen3ForCausalLM".
const char* architecture_of(Family family);

// Shapes of well-known hub ids ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B-Instruct-2507", ...); nullopt if the id is
// not built in.
std::optional<ModelConfig> builtin_config(const std::string& model_id);
std::vector<std::string> builtin_model_ids();

}  // namespace rlcpp::model
