// Keys of a GGUF file (ggml's docs/gguf.md, "Standardized key-value pairs") → ModelConfig.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "model/gguf_model.h"

namespace rlcpp::model {
namespace {

constexpr const char* kDense = "rlcpp converts dense models of the architectures llama, qwen2 and qwen3";
constexpr const char* kRopeFactors = "rope_freqs.weight";

[[noreturn]] void refuse_gguf(const hub::GgufFile& file, const std::string& what) {
  throw bad_input(fmt::format("{}: {} not supported", file.path(), what), {}, kDense);
}

Family gguf_family(const hub::GgufFile& file) {
  const std::string name = file.text("general.architecture");
  if (name == "llama") return Family::kLlama;
  if (name == "qwen2") return Family::kQwen2;
  if (name == "qwen3") return Family::kQwen3;
  refuse_gguf(file, fmt::format("the architecture \"{}\" is", printable(name)));
}

void refuse_gguf_features(const hub::GgufFile& file, const std::string& prefix) {
  if (file.integer("split.count", 0, 1 << 16, 1) > 1) {
    throw bad_input(file.path() + " is one part of several", "split.count is above 1",
                    "join the parts first, e.g. with llama.cpp's llama-gguf-split --merge");
  }
  if (file.integer(prefix + "expert_count", 0, 1 << 16, 0) != 0) refuse_gguf(file, "a mixture of experts is");
  if (file.integer(prefix + "attention.sliding_window", 0, INT32_MAX, 0) != 0)
    refuse_gguf(file, "attention in sliding windows is");
  if (file.number(prefix + "attention.max_alibi_bias", 0, 1e6, 0.0) != 0) refuse_gguf(file, "ALiBi is");
  for (const char* key : {"attention.scale", "residual_scale", "embedding_scale", "logit_scale"}) {
    if (file.number(prefix + key, -1e30, 1e30, 0.0) != 0)
      refuse_gguf(file, fmt::format("a scale of its own ({}{}) is", prefix, key));
  }
}

// Whether a layer has this tensor: all have it, or none.
bool in_all_layers(const hub::GgufFile& file, std::int64_t layers, const char* name) {
  std::int64_t found = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer)
    found += file.tensors().contains(fmt::format("blk.{}.{}", layer, name)) ? 1 : 0;
  if (found == 0 || found == layers) return found != 0;
  throw bad_input(fmt::format("{}: {} of {} layers have {}", file.path(), found, layers, name), {},
                  "download or convert the file again");
}

void read_gguf_biases(const hub::GgufFile& file, ModelConfig& config) {
  const std::int64_t layers = config.num_layers;
  config.qk_norm = config.family == Family::kQwen3;
  config.qkv_bias = in_all_layers(file, layers, "attn_q.bias");
  config.out_bias = in_all_layers(file, layers, "attn_output.bias");
  config.mlp_bias = config.family == Family::kLlama && in_all_layers(file, layers, "ffn_down.bias");
  const bool spelled = config.family == Family::kQwen2 ? config.qkv_bias && !config.out_bias
                                                       : config.qkv_bias == config.out_bias;
  if (spelled) return;
  refuse_gguf(file, fmt::format("a {} model with {} on q, k and v and {} on the output of attention is",
                                file.text("general.architecture"), config.qkv_bias ? "biases" : "no biases",
                                config.out_bias ? "one" : "none"));
}

// Llama 3.1 and later: GGUF stores by what each base frequency is divided, config.json the rule that gives
// the divisors. The rule's other numbers are those of every published model, and the result is compared.
void read_rope_factors(const hub::GgufFile& file, ModelConfig& config) {
  const auto found = file.tensors().find(kRopeFactors);
  if (found == file.tensors().end()) return;
  std::vector<float> factors(found->second.elements);
  file.read_f32(found->second, factors);
  const std::vector<float> base = inverse_frequencies(config);
  const auto matches = [&] {
    const std::vector<float> scaled = inverse_frequencies(config);
    for (std::size_t i = 0; i < base.size(); ++i) {
      const float wanted = base[i] / factors[i];
      if (!(std::abs(scaled[i] - wanted) <= 1e-4F * wanted)) return false;
    }
    return true;
  };
  if (config.rope.kind != RopeKind::kDefault || factors.size() != base.size()) {
    refuse_gguf(file, fmt::format("{} beside another rope scaling, or of another length, is", kRopeFactors));
  }
  if (matches()) return;  // all are one
  config.rope.kind = RopeKind::kLlama3;
  config.rope.low_freq_factor = 1;
  config.rope.high_freq_factor = 4;
  config.rope.original_max_position = 8192;
  config.rope.factor = *std::max_element(factors.begin(), factors.end());
  if (!matches()) refuse_gguf(file, fmt::format("rope factors ({}) other than Llama 3's are", kRopeFactors));
}

void read_gguf_rope(const hub::GgufFile& file, const std::string& prefix, ModelConfig& config) {
  config.rope.theta = file.number(prefix + "rope.freq_base", 1.0, 1e12, 10000.0);
  if (file.integer(prefix + "rope.dimension_count", 1, 1 << 14, config.head_dim) != config.head_dim)
    refuse_gguf(file, "rope over a part of a head (rope.dimension_count) is");
  const std::string scaling = prefix + "rope.scaling.";
  const std::string type = file.text(scaling + "type", "none");
  for (const char* key : {"attn_factor", "yarn_ext_factor", "yarn_attn_factor"}) {
    if (file.number(scaling + key, -1e6, 1e6, 1.0) != 1)
      refuse_gguf(file, fmt::format("{}{} other than 1 is", scaling, key));
  }
  if (file.has(scaling + "yarn_log_multiplier"))
    refuse_gguf(file, fmt::format("{}yarn_log_multiplier is", scaling));
  if (type == "linear" || type == "yarn") {
    config.rope.kind = type == "linear" ? RopeKind::kLinear : RopeKind::kYarn;
    config.rope.factor = file.number(scaling + "factor", 1e-6, 1e6);
  } else if (type != "none") {
    refuse_gguf(file, fmt::format("the rope scaling \"{}\" is", printable(type)));
  }
  if (type == "yarn") {
    config.rope.original_max_position =
        file.integer(scaling + "original_context_length", 1, INT32_MAX, config.max_position);
    config.rope.beta_fast = file.number(scaling + "yarn_beta_fast", 1e-6, 1e6, config.rope.beta_fast);
    config.rope.beta_slow = file.number(scaling + "yarn_beta_slow", 1e-6, 1e6, config.rope.beta_slow);
  }
  read_rope_factors(file, config);
}

void read_gguf_tokens(const hub::GgufFile& file, ModelConfig& config) {
  config.bos_token_id = file.integer("tokenizer.ggml.bos_token_id", 0, INT32_MAX, -1);
  // A chat model ends a turn and a text with different tokens.
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const std::int64_t id = file.integer(key, 0, INT32_MAX, -1);
    auto& ids = config.eos_token_ids;
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

}  // namespace

ModelConfig gguf_config(const hub::GgufFile& file) {
  ModelConfig config;
  config.family = gguf_family(file);
  const std::string prefix = file.text("general.architecture") + ".";
  refuse_gguf_features(file, prefix);
  // The limits are those of config.json (config_parse.cpp).
  config.num_layers = file.integer(prefix + "block_count", 1, 4096);
  config.hidden_size = file.integer(prefix + "embedding_length", 1, 1 << 20);
  config.intermediate_size = file.integer(prefix + "feed_forward_length", 1, 1 << 22);
  config.num_heads = file.integer(prefix + "attention.head_count", 1, 1 << 14);
  config.num_kv_heads = file.integer(prefix + "attention.head_count_kv", 1, 1 << 14, config.num_heads);
  config.head_dim =
      file.integer(prefix + "attention.key_length", 2, 1 << 12, config.hidden_size / config.num_heads);
  if (file.integer(prefix + "attention.value_length", 1, 1 << 12, config.head_dim) != config.head_dim)
    refuse_gguf(file, "keys and values of different lengths are");
  config.max_position = file.integer(prefix + "context_length", 1, INT32_MAX);
  config.rms_eps = static_cast<float>(file.number(prefix + "attention.layer_norm_rms_epsilon", 0, 1));
  const auto embedding = file.tensors().find("token_embd.weight");
  if (embedding == file.tensors().end() || embedding->second.shape.size() != 2)
    throw bad_input(file.path() + ": token_embd.weight is no matrix of the file", {},
                    "take a GGUF file of a language model");
  config.vocab_size = embedding->second.shape[0];
  config.tied = !file.tensors().contains("output.weight");
  read_gguf_biases(file, config);
  // Everything else that config.json must satisfy, in its own words.
  parse_config(to_hf_json(config, "float32"), file.path());
  read_gguf_rope(file, prefix, config);
  read_gguf_tokens(file, config);
  return parse_config(to_hf_json(config, "float32"), file.path());
}

}  // namespace rlcpp::model
