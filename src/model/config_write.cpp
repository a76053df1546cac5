// ModelConfig → the config.json that transformers 4 and 5 load.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/config.h"

namespace rlcpp::model {
namespace {

// Keys stay in the order in which a reader expects them.
using Json = nlohmann::ordered_json;

Json rope_json(const RopeConfig& rope) {
  Json out;
  switch (rope.kind) {
    case RopeKind::kDefault:
      out["rope_type"] = "default";
      break;
    case RopeKind::kLinear:
      out["rope_type"] = "linear";
      out["factor"] = rope.factor;
      break;
    case RopeKind::kLlama3:
      out["rope_type"] = "llama3";
      out["factor"] = rope.factor;
      out["low_freq_factor"] = rope.low_freq_factor;
      out["high_freq_factor"] = rope.high_freq_factor;
      out["original_max_position_embeddings"] = rope.original_max_position;
      break;
    case RopeKind::kYarn:
      out["rope_type"] = "yarn";
      out["factor"] = rope.factor;
      out["beta_fast"] = rope.beta_fast;
      out["beta_slow"] = rope.beta_slow;
      out["truncate"] = rope.truncate;
      if (rope.attention_factor != 0) out["attention_factor"] = rope.attention_factor;
      out["original_max_position_embeddings"] = rope.original_max_position;
      break;
  }
  return out;
}

const char* model_type(Family family) {
  switch (family) {
    case Family::kQwen3:
      return "qwen3";
    case Family::kQwen2:
      return "qwen2";
    case Family::kLlama:
      return "llama";
  }
  return "?";
}

}  // namespace

std::string to_hf_json(const ModelConfig& config, const std::string& dtype) {
  // An out bias without a qkv bias, or the reverse outside Qwen2, has no spelling in config.json.
  RLCPP_CHECK(config.family == Family::kQwen2 ? config.qkv_bias && !config.out_bias
                                              : config.qkv_bias == config.out_bias);
  Json out;
  out["architectures"] = Json::array({architecture_of(config.family)});
  out["model_type"] = model_type(config.family);
  out["vocab_size"] = config.vocab_size;
  out["hidden_size"] = config.hidden_size;
  out["intermediate_size"] = config.intermediate_size;
  out["num_hidden_layers"] = config.num_layers;
  out["num_attention_heads"] = config.num_heads;
  out["num_key_value_heads"] = config.num_kv_heads;
  out["head_dim"] = config.head_dim;
  out["hidden_act"] = "silu";
  out["max_position_embeddings"] = config.max_position;
  // Through the shortest decimal of the f32, so that 1e-6 is written as such.
  out["rms_norm_eps"] = Json::parse(fmt::format("{}", config.rms_eps));
  out["initializer_range"] = config.initializer_range;
  out["tie_word_embeddings"] = config.tied;
  if (config.family != Family::kQwen2) out["attention_bias"] = config.out_bias;
  if (config.family == Family::kLlama) out["mlp_bias"] = config.mlp_bias;
  if (config.family != Family::kLlama) out["use_sliding_window"] = false;
  out["attention_dropout"] = 0.0;
  // transformers 4 reads rope_theta and rope_scaling, transformers 5 rope_parameters (or, if present,
  // rope_scaling).
  const Json rope = rope_json(config.rope);
  out["rope_theta"] = config.rope.theta;
  out["rope_scaling"] = config.rope.kind == RopeKind::kDefault ? Json(nullptr) : rope;
  Json parameters = rope;
  parameters["rope_theta"] = config.rope.theta;
  out["rope_parameters"] = parameters;
  out["bos_token_id"] = config.bos_token_id < 0 ? Json(nullptr) : Json(config.bos_token_id);
  if (config.eos_token_ids.empty()) {
    out["eos_token_id"] = nullptr;
  } else if (config.eos_token_ids.size() == 1) {
    out["eos_token_id"] = config.eos_token_ids.front();
  } else {
    out["eos_token_id"] = config.eos_token_ids;
  }
  out["torch_dtype"] = dtype;
  out["use_cache"] = true;
  return out.dump(2) + "\n";
}

}  // namespace rlcpp::model
